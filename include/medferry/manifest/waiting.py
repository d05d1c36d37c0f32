"""Records that wait: what the load could not write for a reason that goes away by itself, or may do so."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from medferry.manifest.clock import clock
from medferry.manifest.kinds import RunKind
from medferry.manifest.tables import run, unit_state
from medferry.mapping.outcomes import Disposition, Reason

BRIEFLY = (Reason.AT_WORK_ELSEWHERE, Reason.BORN_IN_MEDPLUM)
"""The other run ends; the next cycle gives the resource its identifier."""

WAITS = (Reason.UNRESOLVED_REFERENCE, *BRIEFLY)
"""Nobody has to decide about these: what they refer to arrives, or what is at work comes to its end."""

MAY_BE_OVER = (Reason.TARGET_CHANGED, Reason.TARGET_DELETED, Reason.AMBIGUOUS_TARGET)
"""A person decides about these, unless somebody has taken back in Medplum what they are about."""


@dataclass(frozen=True, slots=True)
class WaitingRecord:
    """`decided_at` is when it was last tried."""

    entity: str
    key: str
    unit: str
    reason: str
    decided_at: str


def waiting_records(
    connection: sa.Connection,
    migration: str,
    entities: Collection[str],
    units: Sequence[str],
    reasons: Collection[Reason] = WAITS,
) -> dict[str, list[WaitingRecord]]:
    """Entity → its records in some business units that have one of the reasons; entities without any are left out."""
    columns = [unit_state.c[name] for name in WaitingRecord.__slots__]
    statement = sa.select(*columns).where(
        unit_state.c.migration == migration,
        unit_state.c.entity.in_(list(entities)),
        unit_state.c.disposition == Disposition.QUARANTINED,
        unit_state.c.reason.in_(list(reasons)),
        unit_state.c.unit.in_(list(units)),
    )
    found: dict[str, list[WaitingRecord]] = {}
    for row in connection.execute(statement):
        found.setdefault(row.entity, []).append(WaitingRecord(*row))
    return found


def ago(connection: sa.Connection, seconds: float) -> str:
    """The manifest's time of so many seconds before now."""
    return str(connection.scalar(sa.select(clock(connection, -seconds))))


def loaded_since(connection: sa.Connection, migration: str, time: str) -> set[str]:
    """The entities of the runs, but for those of a synchronisation, that have ended after a time."""
    ended = (run.c.migration == migration, run.c.finished_at > time, run.c.kind.not_like(f"{RunKind.SYNC}%"))
    return {entity for entities in connection.scalars(sa.select(run.c.entities).where(*ended)) for entity in entities}
