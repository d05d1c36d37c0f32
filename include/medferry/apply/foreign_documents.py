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


def lead_elsewhere(
    client: MedplumClient,
    drifts: Iterable[Drift],
    contents: Mapping[str, Content],
    known: Mapping[Name, CrosswalkEntry],
) -> set[str]:
    """Medplum ids of those whose attachments are in another storage than those of the version that we wrote.

    What the crosswalk does not know by its id was written by nobody known: there is nothing to tell by.
    """
    suspects: dict[str, tuple[Drift, frozenset[str]]] = {}
    for drift in drifts:
        entry = known.get(drift.target.name)
        bases = _storages(contents[drift.id][1]) if drift.id in contents else frozenset()
        if bases and entry is not None and entry.medplum_id == drift.id:
            suspects[f"{drift.id}/_history/{entry.version_id}"] = drift, bases
    if not suspects:
        return set()
    ours = client.read_each([(drift.target.type, name) for name, (drift, _) in suspects.items()])
    elsewhere = set[str]()
    for name, (drift, bases) in suspects.items():
        own = _storages(ours[name][1]) if name in ours else None
        # Hidden from this client (None), a person decides, as the verification has it. Where it has no such URL (an
        # empty set), what is there may be our own first upload.
        if own is None or (own and bases - own):
            elsewhere.add(drift.id)
    return elsewhere


def _storages(text: bytes) -> frozenset[str]:
    try:
        return storages(orjson.loads(text))
    except ValueError:
        return frozenset()
