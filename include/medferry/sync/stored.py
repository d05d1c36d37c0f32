"""A resource as Medplum has it, for the way back: what of it a writer may have written, and its hash."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from medferry.apply.foreign_documents import leads_elsewhere, own_storages
from medferry.fhir.additions import split, storages
from medferry.fhir.canonical import Resource, hash_of_read
from medferry.manifest.crosswalk import CrosswalkEntry
from medferry.medplum.client import MedplumClient


@dataclass(frozen=True, slots=True)
class StoredResource:
    """A resource as Medplum has it; `content` is what a writer may have written."""

    version_id: str
    hash: str
    content: Resource = field(repr=False)


def stored_resources(
    client: MedplumClient, known: Mapping[str, CrosswalkEntry], read: Mapping[str, tuple[str, bytes]]
) -> dict[str, StoredResource]:
    """What was read, by id. A signed URL of another storage than our own version's stays as it is: it is an edit."""
    found = {id_: (version, json.loads(text)) for id_, (version, text) in read.items()}
    moved = [known[id_] for id_, (version, _) in found.items() if version != known[id_].version_id]
    signed = [one for one in moved if storages(found[one.medplum_id][1])]
    own = own_storages(client, [(one.resource_type, one.medplum_id, one.version_id) for one in signed])
    stored = {}
    for id_, (version, resource) in found.items():
        ours = own.get(id_, frozenset())
        bases = (ours or frozenset()) if leads_elsewhere(storages(resource), ours) else None
        content = split(resource, bases)[0]
        stored[id_] = StoredResource(version, hash_of_read(content), content)
    return stored
