"""What users bring into being in Medplum in the business units of a wave: which resources those are, and whose.

Such a resource belongs to a unit by what it refers to: a record of ours, or another such resource that belongs to one.
What belongs to no unit of the wave is told, for another wave has perhaps looked when it was not that one's yet. What is
of no unit at all and may become no row is somebody else's.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from medferry.definition.gate import is_probe
from medferry.definition.migration import Migration
from medferry.fhir.references import by_type, literal_references
from medferry.manifest.held_back import NO_UNIT, HeldBack, HeldReason
from medferry.manifest.known_lines import lines_of_ids
from medferry.mapping.inverse import Inexpressible
from medferry.medplum.changes import Resource
from medferry.medplum.client import MedplumClient
from medferry.sync.reverse import Found, FoundKind, Ours
from medferry.sync.wave import SyncedWave

Place = tuple[str, str]
"""(resource type, id)."""

_GENERATIONS = 3
"""So far it is looked whose a resource is by what it refers to that is new itself."""


def taken_types(migration: Migration) -> frozenset[str]:
    """The resource types that may become rows."""
    taking = [name for name, inverse in migration.inverses.items() if inverse.births]
    return frozenset(kind for name in taking for kind in migration.specs[name].produces.values())


def ours_of(migration: Migration, births: bool = True) -> Ours:
    """What concerns a migration. Without `births`, what has no line is somebody else's."""
    taken = taken_types(migration)

    def belongs(resource: Resource) -> bool:
        return births and (resource.get("resourceType") in taken or bool(literal_references(resource)))

    return Ours(migration.name, migration.plan.base, belongs)


@dataclass(frozen=True, slots=True)
class Birth:
    """A resource that users created, and of what it refers to: the units of each, and what has no row itself."""

    place: Place
    resource: Resource = field(repr=False)
    units: Mapping[Place, frozenset[str]]
    new: tuple[Place, ...]

    def units_by(self, elements: Collection[str]) -> frozenset[str]:
        """Of what some elements refer to; without any, of all that it refers to."""
        told = {name: self.resource[name] for name in elements if name in self.resource} if elements else self.resource
        return frozenset().union(*(self.units.get(place, frozenset()) for place in literal_references(told)))


@dataclass(frozen=True)
class Births:
    """Finds the births of a wave."""

    wave: SyncedWave
    client: MedplumClient

    @property
    def _migration(self) -> Migration:
        return self.wave.environment.migration

    @cached_property
    def _shared(self) -> frozenset[str]:
        return frozenset(self._migration.plan.shared_units)

    @cached_property
    def _declared(self) -> dict[tuple[str, str], str]:
        """(entity, key) → the unit that a reference to the record tells by declaration."""
        new = [inverse.births for inverse in self._migration.inverses.values() if inverse.births]
        of = [(entity, keys) for one in new for entity, keys in one.unit_of.items()]
        return {(entity, key): unit for entity, keys in of for key, unit in keys.items()}

    def among(self, found: Iterable[Found]) -> list[Birth]:
        """The births among some changes, of the wave and of others; what a gate's probe tries is none."""
        return self._births(
            {
                (one.resource_type, one.id): one.change.resource
                for one in found
                if one.kind is FoundKind.BIRTH
                and one.change is not None
                and not is_probe(one.change.resource, self._migration.plan.base)
            }
        )

    def again(self, told: Collection[HeldBack]) -> list[Birth]:
        """Those that were told, as they are now; what was deleted, or is no birth any more, is missing."""
        places = {(kind, medplum_id) for one in told for kind, _, medplum_id in [one.place.partition("/")]}
        with self.wave.environment.manifest.begin() as connection:
            known = {
                (kind, line.medplum_id)
                for kind, ids in by_type(places).items()
                for line in lines_of_ids(connection, self._migration.name, kind, ids)
            }
        return self._births(self._read(places - known))

    def as_of_now(self, births: Iterable[Birth]) -> list[Birth]:
        """The same, when some of what they refer to may have got its row since."""
        return self._births({one.place: one.resource for one in births})

    def is_own(self, birth: Birth) -> bool:
        """Whether it is the wave's to take."""
        return not birth.units_by(()).isdisjoint(self.wave.units)

    def passed(self, birth: Birth) -> HeldBack:
        """What is told of one that is not."""
        return self.told(birth, HeldReason.PASSED if self.unit_of(birth) else HeldReason.NO_UNIT)

    def told(self, birth: Birth, reason: HeldReason | Inexpressible = HeldReason.BORN, detail: str = "") -> HeldBack:
        """Why a birth has no row."""
        place = "/".join(birth.place)
        return HeldBack(self._entity_of(birth.place[0]), place, self.unit_of(birth), reason, detail=detail, place=place)

    def unit_of(self, birth: Birth) -> str:
        """Whose it is to decide about: a unit of the wave before others, before a shared one; NO_UNIT for nobody's."""
        units = birth.units_by(()) & frozenset(self._migration.plan.unit_ids)
        of_wave = units & frozenset(self.wave.units)
        return min(of_wave or units, key=lambda unit: (unit in self._shared, unit), default=NO_UNIT)

    def own_unit(self, birth: Birth, elements: Collection[str]) -> str | None:
        """The one business unit that is not shared, and of the wave, of what some elements refer to."""
        own = birth.units_by(elements) - self._shared
        return next(iter(own)) if len(own) == 1 and own <= frozenset(self.wave.units) else None

    def _entity_of(self, resource_type: str) -> str:
        """The entity whose rows become such resources; of several the first that takes births."""
        migration = self._migration
        of_type = [
            name for name in sorted(migration.inverses) if resource_type in migration.specs[name].produces.values()
        ]
        return min(of_type, key=lambda name: migration.inverses[name].births is None)

    def _births(self, contents: Mapping[Place, Resource]) -> list[Birth]:
        """The resources that belong to a unit, or may become rows; what others refer to comes first."""
        units, new = self._units_of(contents, _GENERATIONS)
        births = [
            Birth(
                place,
                resource,
                {one: units[one] for one in literal_references(resource) if one in units},
                tuple(sorted(one for one in literal_references(resource) if one in new)),
            )
            for place, resource in contents.items()
        ]
        ours = [one for one in births if one.units_by(()) or one.place[0] in self._types]
        return sorted(ours, key=lambda one: (self._migration.level_of(self._entity_of(one.place[0])), one.place))

    def _units_of(
        self, contents: Mapping[Place, Resource], generations: int
    ) -> tuple[dict[Place, frozenset[str]], set[Place]]:
        """Of all that some resources refer to: units, and what of it was created in Medplum itself."""
        referred = {one for resource in contents.values() for one in literal_references(resource)}
        units, known = self._units_of_records(referred)
        unknown = {one for one in referred - known if one[0] in self._types and one not in contents}
        read = self._read(unknown) if unknown and generations else {}
        further, _ = self._units_of(read, generations - 1) if read else ({}, set())
        among = read | {one: contents[one] for one in referred if one in contents}
        for place, resource in among.items():
            of_place = (further.get(one) or units.get(one) or frozenset() for one in literal_references(resource))
            units[place] = frozenset().union(*of_place)
        return units, set(among)

    @cached_property
    def _types(self) -> frozenset[str]:
        return taken_types(self._migration)

    def _read(self, places: Collection[Place]) -> dict[Place, Resource]:
        read = self.client.read_each(sorted(places)) if places else {}
        return {place: json.loads(read[place[1]][1]) for place in sorted(places) if place[1] in read}

    def _units_of_records(self, places: Collection[Place]) -> tuple[dict[Place, frozenset[str]], set[Place]]:
        """The units of those that are resources of records, and all that the crosswalk has."""
        with self.wave.environment.manifest.begin() as connection:
            lines = [
                line
                for kind, ids in by_type(places).items()
                for line in lines_of_ids(connection, self._migration.name, kind, ids)
            ]
        keys: dict[str, set[str]] = {}
        for line in lines:
            keys.setdefault(line.entity, set()).add(line.value)
        states = {entity: self.wave.states(entity, of_entity) for entity, of_entity in keys.items()}
        units: dict[Place, frozenset[str]] = {}
        for line in lines:
            place, state = (line.resource_type, line.medplum_id), states[line.entity].get(line.value)
            unit = self._declared.get((line.entity, line.value)) or (state.unit if state else None)
            if unit is not None:
                units[place] = units.get(place, frozenset()) | {unit}
        return units, {(line.resource_type, line.medplum_id) for line in lines}
