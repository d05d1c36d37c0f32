"""What a verification is about, and the source records that it holds the two systems against.

A subject without a run is judged by what is true of each record now, whichever run decided it; a run by its own lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import sqlalchemy as sa

from medferry.manifest.bulk import among
from medferry.manifest.clock import clock
from medferry.manifest.paging import pages
from medferry.manifest.source_records import DISPOSITIONS, GONE, PENDING
from medferry.manifest.tables import lease, run, source_record, unit_state
from medferry.mapping.outcomes import Disposition

_COLUMNS = ("key", "unit", "disposition", "reason", "run_id")


@dataclass(frozen=True, slots=True)
class Subject:
    """Business units, entities, and source keys of entities; what is empty is not restricted."""

    units: Sequence[str] = ()
    entities: Sequence[str] = ()
    keys: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """``{"units": […], "entities": […], "keys": {entity: […]}}``, each list sorted: equal subjects look alike."""
        keys = {entity: sorted(set(keys)) for entity, keys in sorted(self.keys.items())}
        return {"units": sorted(set(self.units)), "entities": sorted(set(self.entities)), "keys": keys}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        return cls(tuple(value["units"]), tuple(value["entities"]), value["keys"])


@dataclass(frozen=True, slots=True)
class Record:
    """A source record: `run_id` is the run that decided it."""

    key: str
    unit: str
    disposition: str
    reason: str
    run_id: str

    @property
    def gone(self) -> bool:
        """Whether a replay has found that the source has no such row any more."""
        return self.reason == GONE


@dataclass(frozen=True, slots=True)
class Records:
    """Source records of a migration: those of a run, or, without one, what is true of them now.

    `units` and `keys` (of entities) restrict what is true now; empty: all.
    """

    migration: str
    run_id: str | None = None
    units: Sequence[str] = ()
    keys: Mapping[str, Iterable[str]] = field(default_factory=dict)

    def of(self, database: sa.Connection | sa.Engine, entity: str) -> sa.Subquery:
        """key, unit, disposition, reason and run_id of each record of an entity."""
        found = self.unrestricted(entity)
        statement = sa.select(found)
        if self.run_id is None and self.units:
            statement = statement.where(found.c.unit.in_(list(self.units)))
        if self.run_id is None and entity in self.keys:
            statement = statement.where(among(database, found.c.key, self.keys[entity]))
        return statement.subquery()

    def unrestricted(self, entity: str) -> sa.Subquery:
        """The same of every unit and key."""
        if self.run_id is None:
            now = (unit_state.c.migration == self.migration, unit_state.c.entity == entity)
            return sa.select(*(unit_state.c[name] for name in _COLUMNS)).where(*now).subquery()
        own = (source_record.c.run_id == self.run_id, source_record.c.entity == entity)
        return sa.select(*(source_record.c[name] for name in _COLUMNS)).where(*own).subquery()


def record_pages(manifest: sa.Engine, records: Records, entity: str, size: int) -> Iterator[dict[str, Record]]:
    """Key → record of an entity, at most `size` at once, in key order."""
    found = records.of(manifest, entity)
    for page in pages(manifest, sa.select(found), [found.c.key], size):
        yield {row.key: Record(**row._mapping) for row in page}


def records_by_key(connection: sa.Connection, records: Records, entity: str, keys: Iterable[str]) -> dict[str, Record]:
    """Key → record, for those of `keys` that have one, in whatever unit."""
    found = records.unrestricted(entity)
    statement = sa.select(found).where(among(connection, found.c.key, keys))
    return {row.key: Record(**row._mapping) for row in connection.execute(statement)}


def unexplained_keys(
    manifest: sa.Engine, records: Records, entity: str, pending_too: bool
) -> Iterator[tuple[str, list[str]]]:
    """(unknown, without a reason, pending; 1,000 keys) of the records whose outcome explains nothing."""
    found = records.of(manifest, entity)
    disposition = found.c.disposition
    kinds = {
        "unknown": ~disposition.in_((*DISPOSITIONS, PENDING)),
        "without a reason": sa.and_(
            disposition.in_(set(DISPOSITIONS) - {Disposition.SUCCESSFUL}), found.c.reason == ""
        ),
    }
    if pending_too:
        kinds["pending"] = disposition == PENDING
    for kind, condition in kinds.items():
        for page in pages(manifest, sa.select(found.c.key).where(condition), [found.c.key]):
            yield kind, [row.key for row in page]


def present_keys(manifest: sa.Engine, records: Records, entity: str) -> Iterator[dict[str, str]]:
    """Key → unit of 1,000 records, but for those that a replay has found gone from the source."""
    found = records.of(manifest, entity)
    statement = sa.select(found.c.key, found.c.unit).where(found.c.reason != GONE)
    for page in pages(manifest, statement, [found.c.key]):
        yield {row.key: row.unit for row in page}


def present_by_unit(connection: sa.Connection, records: Records, entity: str) -> dict[str, int]:
    """Unit → records, but for those that a replay has found gone from the source."""
    found = records.of(connection, entity)
    statement = sa.select(found.c.unit, sa.func.count()).where(found.c.reason != GONE).group_by(found.c.unit)
    return dict(connection.execute(statement).all())


def count_by_disposition(connection: sa.Connection, records: Records, entity: str) -> dict[str, int]:
    found = records.of(connection, entity)
    statement = sa.select(found.c.disposition, sa.func.count()).group_by(found.c.disposition)
    return dict(connection.execute(statement).all())


def count_by_unit_and_disposition(
    connection: sa.Connection, records: Records, entity: str
) -> dict[tuple[str, str], int]:
    """(unit, disposition) → records of an entity."""
    found = records.of(connection, entity)
    columns = (found.c.unit, found.c.disposition)
    statement = sa.select(*columns, sa.func.count()).group_by(*columns)
    return {(unit, disposition): number for unit, disposition, number in connection.execute(statement)}


def successful_keys(manifest: sa.Engine, records: Records, entity: str) -> Iterator[str]:
    found = records.of(manifest, entity)
    statement = sa.select(found.c.key).where(found.c.disposition == Disposition.SUCCESSFUL)
    for page in pages(manifest, statement, [found.c.key]):
        yield from (row.key for row in page)


def loaded_units(connection: sa.Connection, migration: str, at_work_too: bool = False) -> dict[str, set[str]]:
    """Entity → business units that real runs, of which no worker is at work any more, were about: what to verify.

    A run that was killed has loaded something, too. `at_work_too`: of any real run.
    """
    at_work = sa.select(lease.c.run_id).where(lease.c.expires_at > clock(connection))
    over = sa.true() if at_work_too else sa.or_(run.c.finished_at.is_not(None), run.c.id.not_in(at_work))
    text = [sa.cast(run.c[name], sa.Text).label(name) for name in ("units", "entities")]
    real = run.c.options["dry_run"].as_boolean().is_not(True)
    distinct = sa.select(*text, sa.func.max(run.c.id).label("id")).group_by(*text)
    distinct_runs = distinct.where(run.c.migration == migration, over, real).subquery()
    statement = sa.select(run.c.units, run.c.entities).join(distinct_runs, distinct_runs.c.id == run.c.id)
    found: dict[str, set[str]] = {}
    for units, entities in connection.execute(statement):
        for entity in entities:
            found.setdefault(entity, set()).update(units)
    return found
