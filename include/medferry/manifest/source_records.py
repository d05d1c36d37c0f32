"""Source records: one row of the legacy database each, with exactly one disposition a run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter

import sqlalchemy as sa

from medferry.manifest.bulk import among, change, upsert
from medferry.manifest.tables import finding, source_record

PENDING = "pending"
DISPOSITIONS = ("successful", "rejected", "skipped", "quarantined")
GONE = "source-row-gone"
"""Why a replayed source record is skipped: the source has no such row any more."""


@dataclass(frozen=True, slots=True)
class SourceRecord:
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


_line = attrgetter(*SourceRecord.__slots__)


@dataclass(frozen=True, slots=True)
class DispositionChange:
    """What became of a pending source record."""

    key: str
    disposition: str
    reason: str = ""
    field: str = ""
    place: str = ""


def write_records(
    connection: sa.Connection, run_id: str, units: Iterable[SourceRecord], findings: Iterable[tuple[str, str, str, str]]
) -> None:
    """Write ledger lines (again, when a slice is transformed again) and findings (entity, key, reason, field)."""
    columns = ("run_id", *SourceRecord.__slots__)
    upsert(connection, source_record, columns, [(run_id, *_line(unit)) for unit in units])
    found = [(run_id, *line) for line in findings]
    upsert(connection, finding, ("run_id", "entity", "key", "reason", "field"), found, update=())


def set_dispositions(
    connection: sa.Connection, run_id: str, entity: str, decisions: Sequence[DispositionChange]
) -> None:
    """Set the dispositions of pending units of one entity."""
    rows = [(d.disposition, d.reason, d.field, d.place[:500], run_id, entity, d.key) for d in decisions]
    change(connection, source_record, ("disposition", "reason", "field", "place"), ("run_id", "entity", "key"), rows)


def forget_slice(connection: sa.Connection, run_id: str, slice_id: str, entity: str) -> None:
    """Remove a slice's ledger lines before it is transformed anew."""
    mine = sa.and_(source_record.c.run_id == run_id, source_record.c.slice_id == slice_id)
    keys = sa.select(source_record.c.key).where(mine)
    connection.execute(
        sa.delete(finding).where(finding.c.run_id == run_id, finding.c.entity == entity, finding.c.key.in_(keys))
    )
    connection.execute(sa.delete(source_record).where(mine))


def pending_keys(connection: sa.Connection, run_id: str, slice_id: str) -> set[str]:
    """Keys of a slice that still wait for their disposition."""
    statement = sa.select(source_record.c.key).where(
        source_record.c.run_id == run_id, source_record.c.slice_id == slice_id, source_record.c.disposition == PENDING
    )
    return set(connection.scalars(statement))


def units_of(connection: sa.Connection, run_id: str, entity: str, keys: Iterable[str]) -> dict[str, str]:
    """The business unit of each key, as the run's ledger has it."""
    mine = sa.and_(source_record.c.run_id == run_id, source_record.c.entity == entity)
    statement = sa.select(source_record.c.key, source_record.c.unit).where(
        mine, among(connection, source_record.c.key, keys)
    )
    return dict(connection.execute(statement).all())
