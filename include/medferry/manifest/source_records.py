"""Source units: one row of the legacy database each, with exactly one disposition a run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter

import sqlalchemy as sa

from medferry.manifest.bulk import among, change, upsert
from medferry.manifest.tables import finding, source_unit

PENDING = "pending"
DISPOSITIONS = ("successful", "rejected", "skipped", "quarantined")
GONE = "source-row-gone"
"""Why a replayed source unit is skipped: the source has no such row any more."""


@dataclass(frozen=True, slots=True)
class SourceUnit:
    """The ledger line of one source row in one run. `place` names code or a FHIR path, never a value."""

    entity: str
    key: str
    unit: str
    slice_id: str
    disposition: str
    mapping_version: str
    reason: str = ""
    field: str = ""
    place: str = ""


_line = attrgetter(*SourceUnit.__slots__)


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of a pending source unit."""

    key: str
    disposition: str
    reason: str = ""
    field: str = ""
    place: str = ""


def record_units(
    connection: sa.Connection, run_id: str, units: Iterable[SourceUnit], findings: Iterable[tuple[str, str, str, str]]
) -> None:
    """Write ledger lines (again, when a slice is transformed again) and findings (entity, key, reason, field)."""
    columns = ("run_id", *SourceUnit.__slots__)
    upsert(connection, source_unit, columns, [(run_id, *_line(unit)) for unit in units])
    found = [(run_id, *line) for line in findings]
    upsert(connection, finding, ("run_id", "entity", "key", "reason", "field"), found, update=())


def decide(connection: sa.Connection, run_id: str, entity: str, decisions: Sequence[Decision]) -> None:
    """Set the dispositions of pending units of one entity."""
    rows = [(d.disposition, d.reason, d.field, d.place[:500], run_id, entity, d.key) for d in decisions]
    change(connection, source_unit, ("disposition", "reason", "field", "place"), ("run_id", "entity", "key"), rows)


def forget_slice(connection: sa.Connection, run_id: str, slice_id: str, entity: str) -> None:
    """Remove a slice's ledger lines before it is transformed anew."""
    mine = sa.and_(source_unit.c.run_id == run_id, source_unit.c.slice_id == slice_id)
    keys = sa.select(source_unit.c.key).where(mine)
    connection.execute(
        sa.delete(finding).where(finding.c.run_id == run_id, finding.c.entity == entity, finding.c.key.in_(keys))
    )
    connection.execute(sa.delete(source_unit).where(mine))


def pending_keys(connection: sa.Connection, run_id: str, slice_id: str) -> set[str]:
    """Keys of a slice that still wait for their disposition."""
    statement = sa.select(source_unit.c.key).where(
        source_unit.c.run_id == run_id, source_unit.c.slice_id == slice_id, source_unit.c.disposition == PENDING
    )
    return set(connection.scalars(statement))


def units_of(connection: sa.Connection, run_id: str, entity: str, keys: Iterable[str]) -> dict[str, str]:
    """The business unit of each key, as the run's ledger has it."""
    mine = sa.and_(source_unit.c.run_id == run_id, source_unit.c.entity == entity)
    statement = sa.select(source_unit.c.key, source_unit.c.unit).where(mine, among(connection, source_unit.c.key, keys))
    return dict(connection.execute(statement).all())
