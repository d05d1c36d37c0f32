"""Attachments that lead elsewhere than Medplum's own storage, under a signed URL with the id of our Binary.

Where Medplum keeps its files is told by the version that we wrote: it holds ``Binary/<id>``, and Medplum gives it out
signed. A later version whose URL has another base was written by somebody else, and is no content of ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import orjson

from medferry.apply.disputes import Content
from medferry.apply.plan import Drift
from medferry.fhir.additions import storages
from medferry.manifest.crosswalk import CrosswalkEntry, Name
from medferry.medplum.client import MedplumClient


def own_storages(client: MedplumClient, ours: Iterable[tuple[str, str, str]]) -> dict[str, frozenset[str] | None]:
    """Id → bases of the signed URLs in a version that we wrote, of some (resource type, id, version); a point each.

    None: this client cannot read that version.
    """
    asked = {id_: (kind, f"{id_}/_history/{version}") for kind, id_, version in ours}
    read = client.read_each(list(asked.values())) if asked else {}
    return {id_: _storages(read[path][1]) if path in read else None for id_, (_, path) in asked.items()}


def leads_elsewhere(bases: frozenset[str], own: frozenset[str] | None) -> bool:
    """Whether some `bases` of signed URLs are another storage than that of the version that we wrote.

    Where that is hidden (None), a person decides, as the verification has it. Where it has no such URL (an empty set),
    what is there may be our own first upload.
    """
    return bool(bases) and (own is None or bool(own and bases - own))


def lead_elsewhere(
    client: MedplumClient,
    drifts: Iterable[Drift],
    contents: Mapping[str, Content],
    known: Mapping[Name, CrosswalkEntry],
) -> set[str]:
    """Medplum ids of those whose attachments are in another storage than those of the version that we wrote.

    What the crosswalk does not know by its id was written by nobody known: there is nothing to tell by.
    """
    suspects, versions = dict[str, frozenset[str]](), list[tuple[str, str, str]]()
    for drift in drifts:
        entry = known.get(drift.target.name)
        bases = _storages(contents[drift.id][1]) if drift.id in contents else frozenset()
        if bases and entry is not None and entry.medplum_id == drift.id:
            suspects[drift.id] = bases
            versions.append((drift.target.type, drift.id, entry.version_id))
    own = own_storages(client, versions)
    return {id_ for id_, bases in suspects.items() if leads_elsewhere(bases, own[id_])}


def _storages(text: bytes) -> frozenset[str]:
    try:
        return storages(orjson.loads(text))
    except ValueError:
        return frozenset()
