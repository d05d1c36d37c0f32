"""What may be referred to: resources that are known to be in Medplum, not only in the crosswalk.

What this run has confirmed is there. What an earlier run has written may have been deleted since: it is looked up
before anything new points at it, once a process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from more_itertools import chunked, map_reduce
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from medferry.manifest.crosswalk import CrosswalkEntry, Name
from medferry.medplum.client import PAGE, MedplumClient
from medferry.medplum.errors import MedplumUnavailable

_ATTEMPTS = 10


@dataclass
class Referable:
    """Shared by all threads of one process that load into one Medplum."""

    client: MedplumClient
    _there: set[str] = field(default_factory=set)
    """Ids that were seen to be there."""

    def among(self, known: Mapping[Name, CrosswalkEntry], confirmed: Set[Name]) -> dict[Name, CrosswalkEntry]:
        """Those of `known` that are there; `confirmed` are this run's, and need no look-up."""
        asked = {
            name: entry
            for name, entry in known.items()
            if name not in confirmed and entry.medplum_id not in self._there
        }
        by_type = map_reduce(asked.values(), lambda entry: entry.resource_type, lambda entry: entry.medplum_id)
        for resource_type, ids in by_type.items():
            for some in chunked(ids, PAGE // 2):
                self._there.update(self._versions(resource_type, some))
        return {name: e for name, e in known.items() if name in confirmed or e.medplum_id in self._there}

    def _versions(self, resource_type: str, ids: Sequence[str]) -> dict[str, str]:
        """As the client's, but with as much patience as a writer has. Raises MedplumUnavailable."""
        patience = Retrying(
            retry=retry_if_exception_type(MedplumUnavailable),
            stop=stop_after_attempt(_ATTEMPTS),
            wait=wait_random_exponential(multiplier=0.4, max=20),
            reraise=True,
        )
        return patience(self.client.versions, resource_type, ids)
