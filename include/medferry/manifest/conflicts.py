"""Conflicts: what both systems changed differently since they last agreed, and what people decided about it.

A conflict is of exact versions: Medplum's, the row's, and what the mapping made of it. Found again with the same ones
it is the same line; with newer ones it is another, which supersedes the first and what was decided about that. Of a
resource one is live (open or decided) at most. No value stands here: pointers into the store of values.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from medferry.fhir.rulings import WHOLE as WHOLE
from medferry.fhir.rulings import covers
from medferry.manifest import decisions
from medferry.manifest.bulk import among
from medferry.manifest.clock import clock, read_clock
from medferry.manifest.crosswalk import Name, values_by_system
from medferry.manifest.tables_of_conflicts import conflict as table
from medferry.source.shown_keys import shown_key

DAY_SECONDS = 86_400.0


class ConflictState(StrEnum):
    """How far a conflict has got."""

    OPEN = "open"
    """Somebody has to decide; of some of its paths that may be done."""
    DECIDED = "decided"
    """Of every path it is decided which side wins; the next cycle does it."""
    APPLIED = "applied"
    """It is done. The loser's value is kept for a while."""
    SUPERSEDED = "superseded"
    """A side has moved since, or the two agree: what was decided does not count."""


LIVE = (ConflictState.OPEN, ConflictState.DECIDED)


class Direction(StrEnum):
    """Which way of synchronisation found it."""

    FORWARD = "forward"
    REVERSE = "reverse"


class KeptValue(NamedTuple):
    """Where a value is kept and what it must be: a pointer of the store of values."""

    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class Versions:
    """What a conflict is of. `row_digest` is "" where there is no row, `version_id` where Medplum has no resource.

    `legacy_hash` is of what the mapping made of the row, its references literal; "" where nobody has asked it.
    """

    version_id: str
    row_digest: str
    legacy_hash: str = ""

    def same_as(self, other: Versions) -> bool:
        """Whether neither side has moved from one to the other."""
        known = "" not in (self.legacy_hash, other.legacy_hash)
        alike = self.row_digest == other.row_digest and (not known or self.legacy_hash == other.legacy_hash)
        return alike and self.version_id == other.version_id


@dataclass(frozen=True, slots=True)
class NewConflict:
    """A conflict as it was found. `paths` are elements alone (``name.family``); none means WHOLE."""

    migration: str
    wave: str
    unit: str
    entity: str
    name: Name
    resource_type: str
    medplum_id: str
    paths: tuple[str, ...]
    direction: Direction
    versions: Versions
    base: KeptValue | None = None
    legacy: KeptValue | None = None
    medplum: KeptValue | None = None
    owner: str = ""
    due_days: int | None = None


@dataclass(frozen=True, slots=True)
class Conflict:
    """A conflict as it is recorded. Times are UTC, by the manifest's clock; `due` is a day, or empty."""

    id: int
    migration: str
    wave: str
    unit: str
    entity: str
    name: Name
    resource_type: str
    medplum_id: str
    paths: tuple[str, ...]
    direction: Direction
    versions: Versions
    base: KeptValue | None
    legacy: KeptValue | None
    medplum: KeptValue | None
    owner: str
    due: str
    state: ConflictState
    found_at: str
    changed_at: str
    applied_version: str | None

    @property
    def key(self) -> str:
        """The source key."""
        return self.name[1]

    def as_json(self) -> dict[str, Any]:
        """Where it is and how far it got, its key as it may be shown, without a pointer to its values."""
        return {
            "id": self.id,
            "state": self.state,
            "wave": self.wave,
            "unit": self.unit,
            "entity": self.entity,
            "key": shown_key(self.entity, self.key),
            "resource_type": self.resource_type,
            "medplum_id": self.medplum_id,
            "paths": list(self.paths),
            "direction": self.direction,
            "owner": self.owner,
            "due": self.due,
            "found_at": self.found_at,
            "changed_at": self.changed_at,
        }

    def is_of(self, versions: Versions, paths: Iterable[str]) -> bool:
        """Whether it is of these versions, and whoever decides about it decides about these elements.

        Of one element there may be a conflict of parts of it, which were merged one by one once.
        """
        known = all(path == WHOLE or any(one == WHOLE or covers(one, path) for one in self.paths) for path in paths)
        return known and self.versions.same_as(versions)

    @property
    def digest(self) -> str:
        """What a decision is made about."""
        of = self.versions
        return decisions.digest_of(self.id, of.version_id, of.row_digest, of.legacy_hash)


def record_conflict(connection: sa.Connection, new: NewConflict) -> Conflict:
    """Have the conflict recorded, once; an earlier one of the resource, of other versions or parts, is superseded.

    In a transaction of the caller, with whatever it writes about the record.
    """
    known = conflicts_of_names(connection, new.migration, [new.name]).get(new.name)
    if known is not None and known.is_of(new.versions, new.paths):
        return known
    if known is not None:
        supersede(connection, [known.id])
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    connection.execute(insert(table).values(_values(connection, new)).on_conflict_do_nothing())
    found = conflicts_of_names(connection, new.migration, [new.name])[new.name]
    if not found.is_of(new.versions, new.paths):  # another process was quicker, with something older
        supersede(connection, [found.id])
        return record_conflict(connection, new)
    return found


def conflicts_of_names(connection: sa.Connection, migration: str, names: Collection[Name]) -> dict[Name, Conflict]:
    """The live conflict of each of some resources, of those that have one."""
    return _newest_of(connection, migration, names, table.c.state.in_(LIVE))


def newest_of_names(connection: sa.Connection, migration: str, names: Collection[Name]) -> dict[Name, Conflict]:
    """The newest conflict of each of some resources, in whatever state."""
    return _newest_of(connection, migration, names)


def _newest_of(
    connection: sa.Connection, migration: str, names: Collection[Name], *which: sa.ColumnElement[bool]
) -> dict[Name, Conflict]:
    found: dict[Name, Conflict] = {}
    for system, keys in sorted(values_by_system(names).items()):
        of = (table.c.migration == migration, table.c.system == system, among(connection, table.c.key, keys))
        for row in connection.execute(sa.select(table).where(*of, *which).order_by(table.c.id)):
            found[system, row.key] = _conflict(row)
    return found


def applied_of_name(connection: sa.Connection, migration: str, name: Name) -> list[Conflict]:
    """The conflicts of a resource that were applied, the oldest first."""
    of = (table.c.migration == migration, table.c.system == name[0], table.c.key == name[1])
    statement = sa.select(table).where(*of, table.c.state == ConflictState.APPLIED).order_by(table.c.id)
    return [_conflict(row) for row in connection.execute(statement)]


def find_conflict(connection: sa.Connection, migration: str, conflict_id: int) -> Conflict | None:
    """The migration's conflict of that number."""
    of = (table.c.migration == migration, table.c.id == conflict_id)
    row = connection.execute(sa.select(table).where(*of)).one_or_none()
    return _conflict(row) if row else None


def list_conflicts(
    connection: sa.Connection, migration: str, states: Collection[ConflictState] = LIVE, wave: str = ""
) -> list[Conflict]:
    """Those in some states, the oldest first; of one wave where it is named."""
    of = [table.c.migration == migration, table.c.state.in_(states), *([table.c.wave == wave] if wave else [])]
    return [_conflict(row) for row in connection.execute(sa.select(table).where(*of).order_by(table.c.id))]


def open_conflicts(connection: sa.Connection, migration: str, wave: str = "") -> list[Conflict]:
    """Those that somebody has to decide, the oldest first."""
    return list_conflicts(connection, migration, (ConflictState.OPEN,), wave)


def supersede(connection: sa.Connection, ids: Collection[int]) -> None:
    """A side of the conflicts has moved, or the two agree."""
    set_state(connection, ids, ConflictState.SUPERSEDED)


def set_applied(connection: sa.Connection, versions: Mapping[int, str]) -> None:
    """Conflict → the version of Medplum's resource in which it stands as it was decided."""
    for number, version in versions.items():
        set_state(connection, [number], ConflictState.APPLIED, applied_version=version)


def set_state(connection: sa.Connection, ids: Collection[int], state: ConflictState, **values: str) -> int:
    """Of those that are live; returns how many were."""
    changed = {"state": state, "changed_at": clock(connection), **values}
    live = (table.c.id.in_(list(ids)), table.c.state.in_(LIVE))
    return connection.execute(sa.update(table).where(*live).values(changed)).rowcount


def _values(connection: sa.Connection, new: NewConflict) -> dict[str, Any]:
    due = "" if new.due_days is None else read_clock(connection, new.due_days * DAY_SECONDS)[:10]
    kept = {"base": new.base, "legacy": new.legacy, "medplum": new.medplum}
    return {
        "migration": new.migration,
        "wave": new.wave,
        "unit": new.unit,
        "entity": new.entity,
        "resource_type": new.resource_type,
        "medplum_id": new.medplum_id,
        "direction": new.direction,
        "owner": new.owner,
        **{name: getattr(new.versions, name) for name in Versions.__slots__},
        **{f"{name}_name": value.name if value else None for name, value in kept.items()},
        **{f"{name}_digest": value.digest if value else None for name, value in kept.items()},
        "system": new.name[0],
        "key": new.name[1],
        "paths": sorted(set(new.paths)) or [WHOLE],
        "due": due,
        "state": ConflictState.OPEN,
        "found_at": clock(connection),
        "changed_at": clock(connection),
    }


def _conflict(row: Any) -> Conflict:
    return Conflict(
        id=row.id,
        migration=row.migration,
        wave=row.wave,
        unit=row.unit,
        entity=row.entity,
        name=(row.system, row.key),
        resource_type=row.resource_type,
        medplum_id=row.medplum_id,
        paths=tuple(row.paths),
        direction=Direction(row.direction),
        versions=Versions(row.version_id, row.row_digest, row.legacy_hash),
        base=_kept(row.base_name, row.base_digest),
        legacy=_kept(row.legacy_name, row.legacy_digest),
        medplum=_kept(row.medplum_name, row.medplum_digest),
        owner=row.owner,
        due=row.due,
        state=ConflictState(row.state),
        found_at=row.found_at,
        changed_at=row.changed_at,
        applied_version=row.applied_version,
    )


def _kept(name: str | None, digest: str | None) -> KeptValue | None:
    return KeptValue(name, digest or "") if name else None
