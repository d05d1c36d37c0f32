"""Which charts to review: given ones, a seeded random sample, and those in which errors hide or harm most.

The same run, seed and numbers give the same random charts; so do the risks, as long as nothing else is found.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from medferry.charts.links import Links
from medferry.errors import MedferryError
from medferry.fhir.identifiers import identifiers_of
from medferry.fhir.references import system_token
from medferry.manifest.charts import remarks
from medferry.manifest.subject import records_by_key, successful_keys
from medferry.mapping.outcomes import Disposition
from medferry.medplum.client import MedplumClient
from medferry.source.shown_keys import shown_keys

_WIDER = 20
"""Candidates of each risk for one chart wanted: some are not in the run, or are in the sample already."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """How many charts and which. `keys` are source keys of patients."""

    keys: tuple[str, ...] = ()
    random: int = 0
    risk: int = 0
    seed: int = 0


def draw(links: Links, client: MedplumClient, wanted: Wanted) -> dict[str, str]:
    """Patient's key → why it was chosen. Raises MedferryError when a given key is not in the run."""
    with links.scope.environment.manifest.begin() as connection:
        records = records_by_key(connection, links.scope.records, links.patient, wanted.keys)
    unknown = [key for key in wanted.keys if key not in records]
    if unknown:
        raise MedferryError(
            f"Run {links.run.id} has no patient {', '.join(shown_keys(links.patient, unknown[:5]))}.",
            "Give keys of its rows.",
        )
    chosen: dict[str, list[str]] = {key: ["given"] for key in wanted.keys}
    for key in _random(links, wanted):
        chosen.setdefault(key, []).append(f"random, seed {wanted.seed}")
    for key, why in _risky(links, client, wanted.risk):
        chosen.setdefault(key, []).append(f"risk: {why}")
    return {key: "; ".join(why) for key, why in chosen.items()}


def _random(links: Links, wanted: Wanted) -> list[str]:
    def place(key: str) -> bytes:
        return hashlib.sha256(f"{wanted.seed}/{links.patient}/{key}".encode()).digest()

    successful = successful_keys(links.scope.environment.manifest, links.scope.records, links.patient)
    return heapq.nsmallest(wanted.random, successful, key=place)


def _risky(links: Links, client: MedplumClient, number: int) -> list[tuple[str, str]]:
    """(key, why): the first of each risk in turn, until there are `number` patients."""
    if not number:
        return []
    kinds = links.scope.environment.migration.specs
    allergies = [name for name in links.entities if "AllergyIntolerance" in kinds[name].produces.values()]
    some = number * _WIDER
    ranked = {
        "most differences, dead letters and findings": _troubled(links, some),
        "most allergies": links.fullest(allergies, some),
        "died": _searched(links, client, ("deceased", "true"), some),
        "linked to another patient": _searched(links, client, ("link:missing", "false"), some),
        "most records": links.fullest(links.entities, some),
    }
    waiting = {why: _in_run(links, keys) for why, keys in ranked.items()}
    found: dict[str, str] = {}
    while len(found) < number and any(waiting.values()):
        for why, keys in waiting.items():
            key = next((key for key in keys if key not in found), None)
            waiting[why] = keys[keys.index(key) + 1 :] if key is not None else []
            if key is not None and len(found) < number:
                found[key] = why
    return list(found.items())


def _in_run(links: Links, keys: Sequence[str]) -> list[str]:
    """Those that the run has brought to Medplum."""
    with links.scope.environment.manifest.begin() as connection:
        records = records_by_key(connection, links.scope.records, links.patient, keys)
    return [key for key in keys if key in records and records[key].disposition == Disposition.SUCCESSFUL]


def _troubled(links: Links, number: int) -> list[str]:
    """The patients on whose rows the run and its verification have the most remarks."""
    counts = Counter[str]()
    for entity in (links.patient, *links.entities):
        with links.scope.environment.manifest.begin() as connection:
            remarked = remarks(connection, links.run.id, entity)
        for key, patient in links.patients_of(entity, list(remarked)).items():
            counts[patient] += remarked[key]
    return [key for key, _ in sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:number]]


def _searched(links: Links, client: MedplumClient, parameter: tuple[str, str], number: int) -> list[str]:
    """Source keys of some patients in Medplum that a search finds, the least first."""
    [system] = [system for slot, system in links.scope.systems(links.patient).items() if slot == "main"]
    form = [
        parameter,
        ("identifier", system_token(system)),
        ("_fields", "id,identifier"),
        ("_count", str(min(number, 1000))),
    ]
    page = client.search("Patient", [*form, ("_sort", "_lastUpdated")])
    found = [identifiers_of(entry["resource"]) for entry in page.get("entry", [])]
    return sorted(str(one["value"]) for some in found for one in some if one.get("system") == system)
