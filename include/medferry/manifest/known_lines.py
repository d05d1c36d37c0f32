"""What the crosswalk has of resources that were found changed in Medplum: by their names, else by their ids."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from medferry.manifest.bulk import among
from medferry.manifest.crosswalk import Name, values_by_system
from medferry.manifest.sent_batches import open_batches
from medferry.manifest.tables import target


@dataclass(frozen=True, slots=True)
class KnownLine:
    """A line of the crosswalk, whole."""

    system: str
    value: str
    entity: str
    resource_type: str
    medplum_id: str
    version_id: str
    content_hash: str
    wanted_hash: str | None = None
    """Of what the mapping made, where Medplum has more."""

    @property
    def name(self) -> Name:
        return self.system, self.value


_COLUMNS = [target.c[name] for name in KnownLine.__slots__]


def lines_of_names(connection: sa.Connection, migration: str, names: Collection[Name]) -> list[KnownLine]:
    """The lines of some names; by the crosswalk's key."""
    found: list[KnownLine] = []
    for system, values in sorted(values_by_system(names).items()):
        of = (target.c.migration == migration, target.c.system == system, among(connection, target.c.value, values))
        found += [KnownLine(*row) for row in connection.execute(sa.select(*_COLUMNS).where(*of))]
    return found


def lines_of_ids(
    connection: sa.Connection, migration: str, resource_type: str, ids: Collection[str]
) -> list[KnownLine]:
    """The lines of some Medplum ids. Reads the whole crosswalk of the migration: for the few that no name told."""
    if not ids:
        return []
    of = (target.c.migration == migration, target.c.resource_type == resource_type)
    statement = sa.select(*_COLUMNS).where(*of, among(connection, target.c.medplum_id, ids))
    return [KnownLine(*row) for row in connection.execute(statement.order_by(target.c.system, target.c.value))]


def lines_behind(
    connection: sa.Connection, migration: str, resource_type: str, behind: Name | None, size: int
) -> Sequence[KnownLine]:
    """The next lines of a resource type behind a name, in the order of names; fewer than `size`: the last ones."""
    order = (target.c.system, target.c.value)
    statement = sa.select(*_COLUMNS).where(target.c.migration == migration, target.c.resource_type == resource_type)
    if behind is not None:
        statement = statement.where(sa.tuple_(*order) > behind)
    return [KnownLine(*row) for row in connection.execute(statement.order_by(*order).limit(size))]


def hashes_on_their_way(connection: sa.Connection, migration: str) -> Mapping[Name, set[str]]:
    """Name → hashes of what was sent under it, of which the end is not known."""
    found: dict[Name, set[str]] = {}
    for batch in open_batches(connection, migration):
        for entry in batch.entries:
            found.setdefault(entry.name, set()).add(entry.content_hash)
    return found


def names_in_doubt(connection: sa.Connection, migration: str, settle_seconds: float, server_now: str) -> set[Name]:
    """Names of what was sent and may be at work still, for a judge who waits `settle_seconds` himself.

    What is older is only watched: should it arrive after all, it is conditional on the version that it was to replace.
    """
    return {
        entry.name
        for batch in open_batches(connection, migration, server_now=server_now)
        if batch.age < batch.settles_after(settle_seconds)
        for entry in batch.entries
    }
