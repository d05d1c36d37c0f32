"""The crosswalk (source identifier → Medplum id and version) and what each run did to each target."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter, itemgetter
from typing import Any

import sqlalchemy as sa
from more_itertools import map_reduce

from medferry.manifest.bulk import among, append, upsert
from medferry.manifest.database import now
from medferry.manifest.paging import pages
from medferry.manifest.replaced import remember_replaced
from medferry.manifest.subject import Records
from medferry.manifest.tables import attempt, outcome, source_record, target
from medferry.mapping.outcomes import Disposition

Name = tuple[str, str]
"""(identifier system, identifier value)."""


@dataclass(frozen=True, slots=True)
class CrosswalkEntry:
    """A target that a run has written or confirmed before; `run_id` is the last that did.

    `content_hash` is of what Medplum has, `wanted_hash` of what the mapping made, where that is not the same.
    """

    medplum_id: str
    version_id: str
    content_hash: str
    resource_type: str
    run_id: str = ""
    wanted_hash: str | None = None

    @property
    def wanted(self) -> str:
        """The hash of what the mapping made."""
        return self.wanted_hash or self.content_hash


class Action(StrEnum):
    """What is sent for a target, as the attempts and the notes of batches name it."""

    CREATE = "create"
    UPDATE = "update"
    HEAL = "heal"
    """Its twin is deleted; no load does that."""
    REMOVE = "remove"
    """It is a leftover, and deleted; no load does that."""
    INACTIVATE = "inactivate"
    """It is a leftover, and said to be out of use; no load does that."""


class Effect(StrEnum):
    """What a run did to a target, once proven by read-back; the accounting counts them."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class ConfirmedWrite:
    """A target whose write was confirmed by read-back. `action` is what that did, in the name of its column.

    The hashes are those of a CrosswalkEntry.
    """

    system: str
    value: str
    entity: str
    resource_type: str
    medplum_id: str
    version_id: str
    content_hash: str
    action: Effect
    wanted_hash: str | None = None


_TARGET_COLUMNS = tuple(name for name in ConfirmedWrite.__slots__ if name != "action")
_line = attrgetter(*_TARGET_COLUMNS)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One entry sent to Medplum. `status` is its own HTTP status, 0 when no answer came."""

    system: str
    value: str
    action: Action
    status: int
    reason: str = ""


def values_by_system(names: Iterable[Name]) -> dict[str, list[str]]:
    """Identifier system → the values of `names`: a look-up asks for all of a system at once."""
    return dict(map_reduce(names, itemgetter(0), itemgetter(1)))


def find_targets(connection: sa.Connection, migration: str, names: Iterable[Name]) -> dict[Name, CrosswalkEntry]:
    """Which of `names` the crosswalk knows."""
    found: dict[Name, CrosswalkEntry] = {}
    columns = [target.c[name] for name in ("value", *CrosswalkEntry.__slots__)]
    for system, values in values_by_system(names).items():
        statement = sa.select(*columns).where(
            target.c.migration == migration, target.c.system == system, among(connection, target.c.value, values)
        )
        for value, *rest in connection.execute(statement).all():
            found[system, value] = CrosswalkEntry(*rest)
    return found


def confirmed_by(connection: sa.Connection, run_id: str, names: Iterable[Name]) -> set[Name]:
    """Which of `names` a run has written or confirmed."""
    found: set[Name] = set()
    for system, values in values_by_system(names).items():
        of_run = sa.and_(outcome.c.run_id == run_id, outcome.c.system == system)
        statement = sa.select(outcome.c.value).where(of_run, among(connection, outcome.c.value, values))
        found |= {(system, value) for value in connection.scalars(statement)}
    return found


@dataclass(frozen=True, slots=True)
class KnownResource:
    """A resource as the crosswalk has it. `run_id` is the run that last wrote or confirmed it."""

    key: str
    medplum_id: str
    version_id: str
    content_hash: str
    run_id: str


def resources_of(
    connection: sa.Connection, migration: str, system: str, keys: Iterable[str]
) -> dict[str, KnownResource]:
    """Key → the resource of an identifier system that the crosswalk has of it."""
    columns = (target.c.value, target.c.medplum_id, target.c.version_id, target.c.content_hash, target.c.run_id)
    wanted = (target.c.migration == migration, target.c.system == system, among(connection, target.c.value, keys))
    return {row.value: KnownResource(*row) for row in connection.execute(sa.select(*columns).where(*wanted))}


def resource_pages(manifest: sa.Engine, migration: str, system: str) -> Iterator[dict[str, str]]:
    """Medplum id → key of 1,000 resources of an identifier system, in key order."""
    statement = sa.select(target.c.value, target.c.medplum_id)
    statement = statement.where(target.c.migration == migration, target.c.system == system)
    for page in pages(manifest, statement, [target.c.value]):
        yield {row.medplum_id: row.value for row in page}


def systems_of(connection: sa.Connection, migration: str) -> list[tuple[str, str]]:
    """(entity, identifier system) of all that the crosswalk has of a migration."""
    statement = sa.select(target.c.entity, target.c.system).where(target.c.migration == migration).distinct()
    return [(entity, system) for entity, system in connection.execute(statement.order_by(*statement.selected_columns))]


def ids_in_crosswalk(connection: sa.Connection, ids: Iterable[str]) -> set[str]:
    """Those of some Medplum ids that the crosswalk has, of whichever migration and under whichever name."""
    return set(connection.scalars(sa.select(target.c.medplum_id).where(among(connection, target.c.medplum_id, ids))))


def owners_of_ids(connection: sa.Connection, ids: Iterable[str]) -> dict[str, set[tuple[str, Name]]]:
    """Medplum id → (migration, name) of each line of the crosswalk that has it."""
    found: dict[str, set[tuple[str, Name]]] = {}
    columns = (target.c.medplum_id, target.c.migration, target.c.system, target.c.value)
    for row in connection.execute(sa.select(*columns).where(among(connection, target.c.medplum_id, ids))):
        found.setdefault(row.medplum_id, set()).add((row.migration, (row.system, row.value)))
    return found


def count_resources(connection: sa.Connection, migration: str, system: str) -> int:
    """How many resources the crosswalk has under an identifier system."""
    known = sa.and_(target.c.migration == migration, target.c.system == system)
    return connection.scalar(sa.select(sa.func.count()).select_from(target).where(known)) or 0


def count_resources_of(connection: sa.Connection, records: Records, entity: str) -> int:
    """How many resources the crosswalk has of some records of an entity."""
    found = records.of(connection, entity)
    same = sa.and_(target.c.migration == records.migration, target.c.entity == entity, target.c.value == found.c.key)
    return connection.scalar(sa.select(sa.func.count()).select_from(found.join(target, same))) or 0


Place = tuple[str, str]
"""(source key, "Type/id")."""

_PLACE = (target.c.value, target.c.resource_type, target.c.medplum_id)


def strays(connection: sa.Connection, migration: str, entity: str) -> list[Place]:
    """What the crosswalk has of an entity that no record of any run became."""
    record = sa.exists().where(source_record.c.entity == target.c.entity, source_record.c.key == target.c.value)
    statement = sa.select(*_PLACE).where(target.c.migration == migration, target.c.entity == entity, ~record)
    return _places(connection, statement)


def places_of(connection: sa.Connection, migration: str, entity: str, keys: Iterable[str]) -> list[Place]:
    """What the crosswalk has of some keys of an entity."""
    statement = sa.select(*_PLACE).where(target.c.migration == migration, target.c.entity == entity)
    return _places(connection, statement.where(among(connection, target.c.value, keys)))


def skipped_places(connection: sa.Connection, records: Records, entity: str) -> list[Place]:
    """What the crosswalk has of records that are skipped: resources of earlier runs (deleted rows, merged ones)."""
    found = records.of(connection, entity)
    same = sa.and_(target.c.migration == records.migration, target.c.entity == entity, target.c.value == found.c.key)
    statement = (
        sa.select(*_PLACE).select_from(found.join(target, same)).where(found.c.disposition == Disposition.SKIPPED)
    )
    return _places(connection, statement)


def left_behind(
    connection: sa.Connection, migration: str, run_id: str, entity: str, units: Sequence[str], whole: bool
) -> tuple[list[Place], int]:
    """What earlier runs have made of some units' records that the run skips or, when it is `whole`, has no line of.

    Beside it how many resources of these units the crosswalk has.
    """
    line, earlier = source_record.alias("line"), source_record.alias("earlier")
    same = sa.and_(line.c.run_id == run_id, line.c.entity == target.c.entity, line.c.key == target.c.value)
    seen = sa.exists().where(
        earlier.c.entity == target.c.entity, earlier.c.key == target.c.value, earlier.c.unit.in_(list(units))
    )
    known = sa.and_(target.c.migration == migration, target.c.entity == entity, seen)
    skipped = line.c.disposition == Disposition.SKIPPED
    gone = sa.or_(line.c.key.is_(None), skipped) if whole else skipped
    statement = sa.select(*_PLACE).select_from(target.outerjoin(line, same)).where(known, gone)
    number = connection.scalar(sa.select(sa.func.count()).select_from(target).where(known)) or 0
    return _places(connection, statement), number


def _places(connection: sa.Connection, statement: sa.Select[Any]) -> list[Place]:
    return [(key, f"{kind}/{medplum_id}") for key, kind, medplum_id in connection.execute(statement)]


def knows_system(connection: sa.Connection, migration: str, system: str) -> bool:
    """Whether any target of an identifier system is known."""
    mine = sa.and_(target.c.migration == migration, target.c.system == system)
    return connection.execute(sa.select(target.c.value).where(mine).limit(1)).first() is not None


def record_confirmed(
    connection: sa.Connection, migration: str, run_id: str, slice_id: str, proven: Sequence[ConfirmedWrite]
) -> None:
    """Write confirmed targets to the crosswalk and to the run's outcomes.

    A target that this run created stays "created" when a redone slice finds it unchanged.
    """
    remember_replaced(connection, migration, [(each.system, each.value, each.medplum_id) for each in proven])
    upsert(
        connection,
        target,
        ("migration", "run_id", *_TARGET_COLUMNS),
        [(migration, run_id, *_line(p)) for p in proven],
    )
    columns = ("run_id", "slice_id", "system", "value", "entity", "action")
    for keep_first, actions in ((False, {Effect.CREATED, Effect.UPDATED}), (True, {Effect.UNCHANGED})):
        lines = [(run_id, slice_id, p.system, p.value, p.entity, p.action) for p in proven if p.action in actions]
        upsert(connection, outcome, columns, lines, update=() if keep_first else None)


def set_bases(connection: sa.Connection, migration: str, agreed: Sequence[ConfirmedWrite]) -> None:
    """Move known targets on to what both sides agree on; which run has them, and what it did, stays."""
    for one in agreed:
        of = (target.c.migration == migration, target.c.system == one.system, target.c.value == one.value)
        names = ("version_id", "content_hash", "wanted_hash")
        values = {name: getattr(one, name) for name in names}
        connection.execute(sa.update(target).where(*of).values(values))


def record_attempts(connection: sa.Connection, run_id: str, slice_id: str, attempts: Sequence[Attempt]) -> None:
    """Append what was sent and answered."""
    at = now()
    rows = [(run_id, slice_id, at, a.system, a.value, a.action, a.status, a.reason) for a in attempts]
    append(connection, attempt, ("run_id", "slice_id", "at", *Attempt.__slots__), rows)
