"""The run's ledger in pages: source records in key order, with the resources that the crosswalk says they became."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from medferry.manifest.bulk import among
from medferry.manifest.tables import source_record, target
from medferry.verification.scope import Scope

_LARGE = frozenset({"Binary", "DocumentReference", "Media"})
"""Types whose resources may be large: some hundreds of kilobytes each."""


@dataclass(frozen=True, slots=True)
class WrittenResource:
    """A resource as the crosswalk knows it. `key` is the source key, which is its identifier's value too."""

    key: str
    slot: str
    type: str
    system: str
    medplum_id: str
    version_id: str
    content_hash: str
    run_id: str
    """The run that last wrote or confirmed it."""

    @property
    def place(self) -> str:
        return f"{self.type}/{self.medplum_id}"


@dataclass(frozen=True, slots=True)
class Page:
    """Source records (key → disposition) and what the crosswalk has of them, by slot."""

    entity: str
    units: dict[str, str]
    written: dict[str, dict[str, WrittenResource]]
    """Slot → key → resource."""

    @property
    def successful(self) -> list[str]:
        return [key for key, disposition in self.units.items() if disposition == "successful"]


def pages(scope: Scope, entity: str) -> Iterator[Page]:
    """All source records of the run's entity; at most 1,000 at once, 50 where their resources may be large."""
    types = set(scope.environment.migration.specs[entity].produces.values())
    size = 50 if types & _LARGE else 1_000
    after: str | None = None
    while units := _units(scope, entity, after, size):
        after = list(units)[-1]
        yield Page(entity, units, written_of(scope, entity, list(units)))


def _units(scope: Scope, entity: str, after: str | None, size: int) -> dict[str, str]:
    mine = [source_record.c.run_id == scope.run.id, source_record.c.entity == entity]
    if after is not None:
        mine.append(source_record.c.key > after)
    statement = sa.select(source_record.c.key, source_record.c.disposition).where(*mine)
    with scope.environment.manifest.begin() as connection:
        found = connection.execute(statement.order_by(source_record.c.key).limit(size))
        return {row.key: row.disposition for row in found}


def written_of(scope: Scope, entity: str, keys: Sequence[str]) -> dict[str, dict[str, WrittenResource]]:
    """Slot → key → the resource that the crosswalk has of it, for an entity's `keys`."""
    found: dict[str, dict[str, WrittenResource]] = {}
    columns = (target.c.value, target.c.medplum_id, target.c.version_id, target.c.content_hash, target.c.run_id)
    with scope.environment.manifest.begin() as connection:
        for slot, system in scope.systems(entity).items():
            resource_type = scope.type_of(entity, slot)
            found[slot] = {}
            statement = sa.select(*columns).where(
                target.c.migration == scope.run.migration,
                target.c.system == system,
                among(connection, target.c.value, keys),
            )
            for key, *rest in connection.execute(statement):
                found[slot][key] = WrittenResource(key, slot, resource_type, system, *rest)
    return found
