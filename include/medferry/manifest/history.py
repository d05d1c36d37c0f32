"""The history of one source record over all runs of a migration: what was decided, and what was sent for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from medferry.manifest.tables import attempt, run, source_record


@dataclass(frozen=True, slots=True)
class SentEntry:
    """One entry sent to Medplum. `status` is its own HTTP status, 0 when no answer came."""

    at: str
    system: str
    action: str
    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """What one run made of a source record, and every attempt at its targets, oldest first."""

    run_id: str
    kind: str
    started_at: str
    disposition: str
    reason: str
    field: str
    place: str
    mapping_version: str
    attempts: list[SentEntry]


def history(
    connection: sa.Connection, migration: str, systems: Sequence[str], entity: str, key: str
) -> list[HistoryEntry]:
    """Every run's line of a record, oldest first. `systems` are the identifier systems of the entity's targets."""
    decided = (source_record.c[name] for name in ("disposition", "reason", "field", "place", "mapping_version"))
    lines = (
        sa.select(run.c.id.label("run_id"), run.c.kind, run.c.started_at, *decided)
        .join(source_record, source_record.c.run_id == run.c.id)
        .where(run.c.migration == migration, source_record.c.entity == entity, source_record.c.key == key)
        .order_by(run.c.started_at, run.c.id)
    )
    found = connection.execute(lines).all()
    return [HistoryEntry(**row._mapping, attempts=_sent(connection, row.run_id, systems, key)) for row in found]


def _sent(connection: sa.Connection, run_id: str, systems: Sequence[str], key: str) -> list[SentEntry]:
    columns = [attempt.c[name] for name in SentEntry.__slots__]
    statement = (
        sa.select(*columns)
        .where(attempt.c.run_id == run_id, attempt.c.system.in_(list(systems)), attempt.c.value == key)
        .order_by(attempt.c.at, attempt.c.id)
    )
    return [SentEntry(*row) for row in connection.execute(statement)]
