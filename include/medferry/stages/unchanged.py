"""Which rows need no work: unchanged since they were last decided, and Medplum still has what they became."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from more_itertools import chunked, map_reduce

from medferry.manifest import unchanged
from medferry.manifest.runs import RunRow
from medferry.manifest.unchanged import Location
from medferry.mapping.outcomes import Disposition
from medferry.medplum.client import PAGE, MedplumClient
from medferry.runtime.environment import Environment


@dataclass(frozen=True, slots=True)
class UnchangedRecords:
    """Of one entity in one run. `client` opens Medplum: it is called when rows are found to be the same."""

    environment: Environment
    run: RunRow
    entity: str
    client: Callable[[], MedplumClient]

    def among(self, digests: Mapping[str, str]) -> set[str]:
        """The keys of those records that need no work; `digests` are their rows' by key.

        A resource that was changed or deleted in Medplum since is for the load to judge: its record is staged as any.
        Raises MedplumUnavailable, Unauthorised.
        """
        systems = self.environment.migration.systems[self.entity]
        with self.environment.manifest.begin() as connection:
            same = unchanged.same_rows(connection, self.run, self.entity, digests)
            loaded = {key for key, disposition in same.items() if disposition is Disposition.SUCCESSFUL}
            locations = unchanged.locations_of(connection, self.run.migration, self.entity, systems, loaded)
        nowhere = loaded - {location.key for location in locations}
        return same.keys() - nowhere - self._differing(locations)

    def _differing(self, locations: list[Location]) -> set[str]:
        """The keys of those that Medplum has not, or not in the version that the crosswalk knows."""
        differing: set[str] = set()
        for resource_type, of_type in map_reduce(locations, lambda location: location.resource_type).items():
            for page in chunked(of_type, PAGE):
                versions = self.client().versions(resource_type, [location.medplum_id for location in page])
                differing |= {known.key for known in page if versions.get(known.medplum_id) != known.version_id}
        return differing
