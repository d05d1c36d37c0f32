"""What users bring into being in Medplum in the business units of a wave: told by name, since it has no row.

Such a resource belongs to a unit by what it refers to: a record of ours. What refers to none is somebody else's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from medferry.fhir.references import literal_references
from medferry.manifest.crosswalk import ids_in_crosswalk
from medferry.manifest.held_back import HeldBack, HeldReason
from medferry.manifest.known_lines import lines_of_ids
from medferry.medplum.client import MedplumClient
from medferry.sync.reverse import Found, FoundKind
from medferry.sync.wave import SyncedWave

Place = tuple[str, str]
"""(resource type, id)."""


@dataclass(frozen=True, slots=True)
class Births:
    """Tells the births of a wave."""

    wave: SyncedWave

    def told(self, found: Iterable[Found]) -> list[HeldBack]:
        """The births among some changes that belong to the wave's units."""
        born = {
            (one.resource_type, one.id): one.change.resource
            for one in found
            if one.kind is FoundKind.BIRTH and one.change is not None
        }
        units = self._units_of({place: literal_references(resource) for place, resource in born.items()})
        return [
            HeldBack(self._entity_of(place[0]), "/".join(place), unit, HeldReason.BORN, place="/".join(place))
            for place, unit in sorted(units.items())
        ]

    def _entity_of(self, resource_type: str) -> str:
        """The entity whose rows become such resources; of several the first."""
        migration = self.wave.environment.migration
        makes = {name: migration.specs[name].produces.values() for name in sorted(migration.inverses)}
        return next(name for name, types in makes.items() if resource_type in types)

    def _units_of(self, referring: Mapping[Place, Collection[Place]]) -> dict[Place, str]:
        """Those of some resources that refer to a record in the wave's units, with that unit; its own before shared."""
        wanted: dict[str, set[str]] = {}
        for places in referring.values():
            for kind, medplum_id in places:
                wanted.setdefault(kind, set()).add(medplum_id)
        environment = self.wave.environment
        with environment.manifest.begin() as connection:
            lines = [line for kind, ids in wanted.items()
                     for line in lines_of_ids(connection, environment.migration.name, kind, ids)]  # fmt: skip
        keys: dict[str, set[str]] = {}
        for line in lines:
            keys.setdefault(line.entity, set()).add(line.value)
        states = {entity: self.wave.states(entity, of_entity) for entity, of_entity in keys.items()}
        units: dict[Place, set[str]] = {}
        for line in lines:
            state = states[line.entity].get(line.value)
            if state is not None and state.unit in self.wave.units:
                units.setdefault((line.resource_type, line.medplum_id), set()).add(state.unit)
        shared = set(environment.migration.plan.shared_units)
        found = {}
        for place, places in referring.items():
            of_place = {unit for one in places for unit in units.get(one, ())}
            if of_place:
                found[place] = min(of_place, key=lambda unit: (unit in shared, unit))
        return found

    def over(self, client: MedplumClient, told: Collection[HeldBack]) -> list[HeldBack]:
        """Those that were told and are no births any more: deleted, or under a name that the crosswalk has."""
        places = {(kind, medplum_id): one for one in told for kind, _, medplum_id in [one.place.partition("/")]}
        read = client.read_each(list(places)) if places else {}
        environment = self.wave.environment
        with environment.manifest.begin() as connection:
            known = ids_in_crosswalk(connection, [medplum_id for _, medplum_id in places])
        return [one for (_, medplum_id), one in places.items() if medplum_id not in read or medplum_id in known]
