"""The subject's source records in pages, in key order, with the resources that the crosswalk says they became."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from medferry.manifest.crosswalk import resources_of
from medferry.manifest.subject import Record, record_pages
from medferry.mapping.outcomes import Disposition
from medferry.verification.scope import VerificationScope

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
    """Source records by key, and what the crosswalk has of them, by slot."""

    entity: str
    records: dict[str, Record]
    written: dict[str, dict[str, WrittenResource]]
    """Slot → key → resource."""

    @property
    def successful(self) -> list[str]:
        return [key for key, record in self.records.items() if record.disposition == Disposition.SUCCESSFUL]


def pages(scope: VerificationScope, entity: str) -> Iterator[Page]:
    """All source records of the subject's entity; at most 1,000 at once, 50 where their resources may be large."""
    types = set(scope.migration.specs[entity].produces.values())
    size = 50 if types & _LARGE else 1_000
    for records in record_pages(scope.environment.manifest, scope.records, entity, size):
        yield Page(entity, records, written_of(scope, entity, list(records)))


def written_of(scope: VerificationScope, entity: str, keys: Sequence[str]) -> dict[str, dict[str, WrittenResource]]:
    """Slot → key → the resource that the crosswalk has of it, for an entity's `keys`."""
    found: dict[str, dict[str, WrittenResource]] = {}
    with scope.environment.manifest.begin() as connection:
        for slot, system in scope.systems(entity).items():
            kind = scope.type_of(entity, slot)
            known = resources_of(connection, scope.migration.name, system, keys)
            found[slot] = {
                key: WrittenResource(
                    key, slot, kind, system, entry.medplum_id, entry.version_id, entry.content_hash, entry.run_id
                )
                for key, entry in known.items()
            }
    return found
