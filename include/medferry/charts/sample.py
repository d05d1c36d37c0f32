"""Which charts to review: given ones, a seeded random sample, and those in which errors hide or harm most.

The same run, seed and numbers give the same random charts; so do the risks, as long as nothing else is found.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from medferry.charts.links import Links
from medferry.errors import MedferryError
from medferry.fhir.references import system_token
from medferry.manifest.tables import DEAD, difference, finding, source_record
from medferry.medplum.client import MedplumClient
from medferry.verification.ledger import dispositions
from medferry.verification.scope import Scope

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
    scope = links.scope
    lines = dispositions(scope, links.patient, wanted.keys)
    unknown = [key for key in wanted.keys if key not in lines]
    if unknown:
        raise MedferryError(f"Run {scope.run.id} has no patient {', '.join(unknown[:5])}.", "Give keys of its rows.")
    chosen: dict[str, list[str]] = {key: ["given"] for key in wanted.keys}
    for key in _random(links, wanted):
        chosen.setdefault(key, []).append(f"random, seed {wanted.seed}")
    for key, why in _risky(links, client, wanted.risk):
        chosen.setdefault(key, []).append(f"risk: {why}")
    return {key: "; ".join(why) for key, why in chosen.items()}


def _random(links: Links, wanted: Wanted) -> list[str]:
    def place(key: str) -> bytes:
        return hashlib.sha256(f"{wanted.seed}/{links.patient}/{key}".encode()).digest()

    return heapq.nsmallest(wanted.random, _successful(links.scope, links.patient), key=place)


def _successful(scope: Scope, entity: str) -> Iterator[str]:
    mine = (source_record.c.run_id == scope.run.id, source_record.c.entity == entity)
    statement = sa.select(source_record.c.key).where(*mine, source_record.c.disposition == "successful")
    with scope.environment.manifest.begin() as connection:
        yield from connection.execution_options(stream_results=True).scalars(statement)


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
    lines = dispositions(links.scope, links.patient, keys)
    return [key for key in keys if lines.get(key, ("", ""))[1] == "successful"]


def _troubled(links: Links, number: int) -> list[str]:
    """The patients on whose rows the run and its verification have the most remarks."""
    run_id, counts = links.scope.run.id, Counter[str]()
    for entity in (links.patient, *links.entities):
        remarks = Counter[str]()
        with links.scope.environment.manifest.begin() as connection:
            for table in (finding, difference, source_record):
                mine = [table.c.run_id == run_id, table.c.entity == entity]
                if table is source_record:
                    mine.append(source_record.c.disposition.in_(DEAD))
                remarks.update(connection.scalars(sa.select(table.c.key).where(*mine)))
        for key, patient in links.patients_of(entity, list(remarks)).items():
            counts[patient] += remarks[key]
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
    found = [entry["resource"].get("identifier", []) for entry in page.get("entry", [])]
    return sorted(str(one["value"]) for some in found for one in some if one.get("system") == system)
