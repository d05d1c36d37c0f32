"""Source records: one row of the legacy database each, with exactly one disposition a run."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

import sqlalchemy as sa

from medferry.manifest.bulk import among, change, upsert
from medferry.manifest.paging import pages
from medferry.manifest.tables import finding, outcome, source_record
from medferry.manifest.unit_state import take_over_decided
from medferry.mapping.outcomes import Disposition, Reason

PENDING, GONE = Disposition.PENDING, Reason.SOURCE_ROW_GONE
DISPOSITIONS = (Disposition.SUCCESSFUL, Disposition.REJECTED, Disposition.SKIPPED, Disposition.QUARANTINED)
"""Of a record that is decided."""


@dataclass(frozen=True, slots=True)
class SourceRecord:
    """The ledger line of one source row in one run. `place` names code or a FHIR path, never a value.

    `source_digest` is the SHA-256 of the row as read, `fingerprint` that of what mapped it; empty when not known.
    """

    entity: str
    key: str
    unit: str
    slice_id: str
    disposition: Disposition
    mapping_version: str
    reason: str = ""
    field: str = ""
    place: str = ""
    source_digest: str = ""
    fingerprint: str = ""


_line = attrgetter(*SourceRecord.__slots__)


@dataclass(frozen=True, slots=True)
class DispositionChange:
    """What became of a pending source record."""

    key: str
    disposition: Disposition
    reason: str = ""
    field: str = ""
    place: str = ""


def write_records(
    connection: sa.Connection,
    run_id: str,
    records: Sequence[SourceRecord],
    findings: Iterable[tuple[str, str, str, str]],
) -> None:
    """Write ledger lines (again, when a slice is transformed again) and findings (entity, key, reason, field).

    What is decided already is true from now on (`unit_state`), unless the run is a dry run.
    """
    columns = ("run_id", *SourceRecord.__slots__)
    upsert(connection, source_record, columns, [(run_id, *_line(record)) for record in records])
    decided: dict[str, list[str]] = defaultdict(list)
    for record in records:
        if record.disposition != Disposition.PENDING:
            decided[record.entity].append(record.key)
    for entity, keys in decided.items():
        _take_over(connection, run_id, entity, keys)
    found = [(run_id, *line) for line in findings]
    upsert(connection, finding, ("run_id", "entity", "key", "reason", "field"), found, update=())


def set_dispositions(
    connection: sa.Connection, run_id: str, entity: str, decisions: Sequence[DispositionChange]
) -> None:
    """Set the dispositions of pending records of one entity; they are true from now on (`unit_state`)."""
    rows = [(d.disposition, d.reason, d.field, d.place[:500], run_id, entity, d.key) for d in decisions]
    change(connection, source_record, ("disposition", "reason", "field", "place"), ("run_id", "entity", "key"), rows)
    if decisions:
        _take_over(connection, run_id, entity, [d.key for d in decisions])


def _take_over(connection: sa.Connection, run_id: str, entity: str, keys: Sequence[str]) -> None:
    of_entity = source_record.c.entity == entity
    take_over_decided(connection, run_id, of_entity, among(connection, source_record.c.key, keys))


def forget_slice(connection: sa.Connection, run_id: str, slice_id: str, entity: str) -> None:
    """Remove a slice's ledger lines before it is transformed again. What they decided stays true until then."""
    of_slice = sa.and_(source_record.c.run_id == run_id, source_record.c.slice_id == slice_id)
    keys = sa.select(source_record.c.key).where(of_slice)
    connection.execute(
        sa.delete(finding).where(finding.c.run_id == run_id, finding.c.entity == entity, finding.c.key.in_(keys))
    )
    connection.execute(sa.delete(outcome).where(outcome.c.run_id == run_id, outcome.c.slice_id == slice_id))
    connection.execute(sa.delete(source_record).where(of_slice))


def count_lines(connection: sa.Connection, run_id: str, slice_id: str) -> int:
    """How many of the run's records are in a slice."""
    of_slice = sa.and_(source_record.c.run_id == run_id, source_record.c.slice_id == slice_id)
    return connection.scalar(sa.select(sa.func.count()).select_from(source_record).where(of_slice)) or 0


def pending_keys(connection: sa.Connection, run_id: str, slice_id: str) -> set[str]:
    """Keys of a slice that still wait for their disposition."""
    statement = sa.select(source_record.c.key).where(
        source_record.c.run_id == run_id,
        source_record.c.slice_id == slice_id,
        source_record.c.disposition == Disposition.PENDING,
    )
    return set(connection.scalars(statement))


def units_of(connection: sa.Connection, run_id: str, entity: str, keys: Iterable[str]) -> dict[str, str]:
    """The business unit of each key, as the run's ledger has it."""
    of_entity = sa.and_(source_record.c.run_id == run_id, source_record.c.entity == entity)
    statement = sa.select(source_record.c.key, source_record.c.unit).where(
        of_entity, among(connection, source_record.c.key, keys)
    )
    return dict(connection.execute(statement).all())


class SourceOfRecord(NamedTuple):
    """The business unit of a record, and the SHA-256 of its row as read."""

    unit: str
    digest: str


def sources_of(connection: sa.Connection, run_id: str, entity: str, keys: Iterable[str]) -> dict[str, SourceOfRecord]:
    """Key → what the run has read of it."""
    of_entity = sa.and_(source_record.c.run_id == run_id, source_record.c.entity == entity)
    statement = sa.select(source_record.c.key, source_record.c.unit, source_record.c.source_digest).where(
        of_entity, among(connection, source_record.c.key, keys)
    )
    return {key: SourceOfRecord(unit, digest) for key, unit, digest in connection.execute(statement)}


def key_pages(manifest: sa.Engine, entity: str) -> Iterator[Sequence[str]]:
    """Every key of an entity that any run has met, 1,000 at a time."""
    keys = sa.select(source_record.c.key).where(source_record.c.entity == entity).distinct()
    return ([row.key for row in page] for page in pages(manifest, keys, [source_record.c.key]))


def dispositions_of(connection: sa.Connection, run_id: str, slice_id: str | None = None) -> Counter[str]:
    """A run's records by disposition; those of one slice, where it is named."""
    statement = sa.select(source_record.c.disposition, sa.func.count()).where(source_record.c.run_id == run_id)
    if slice_id is not None:
        statement = statement.where(source_record.c.slice_id == slice_id)
    return Counter(dict(connection.execute(statement.group_by(source_record.c.disposition)).all()))
