"""What Medplum has: by name, and by id. As few searches as its pages allow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from more_itertools import chunked, map_reduce

from medferry.apply.disputes import Content
from medferry.apply.plan import Location
from medferry.apply.targets import ResolvedResource
from medferry.fhir.accounts import accounts_in, accounts_of
from medferry.fhir.identifiers import names_of
from medferry.manifest.crosswalk import Name
from medferry.medplum.client import PAGE, MedplumClient

Accounts = dict[str, Any]
"""The members of a resource's `meta` that say who may see it."""


def find_locations(
    client: MedplumClient, targets: Sequence[ResolvedResource], accounts: dict[str, Accounts]
) -> dict[Name, list[Location]]:
    """Name → id and version of every resource that carries it; `accounts` takes who may see it, by id."""
    found: dict[Name, list[Location]] = defaultdict(list)
    values_of = map_reduce(targets, lambda target: (target.type, target.name[0]), lambda target: target.name[1])
    for (resource_type, system), values in values_of.items():
        wanted = set(values)
        for group in chunked(values, PAGE // 2):  # half a page, so that duplicates are seen and not cut off
            for resource in client.by_name(resource_type, system, group):
                accounts[resource["id"]] = accounts_of(resource)
                location = (resource["id"], resource["meta"]["versionId"])
                for name in names_of(resource):
                    if name[0] == system and name[1] in wanted:
                        found[name].append(location)
    return found


def read_locations(
    client: MedplumClient, ids: Mapping[Name, tuple[str, str]], accounts: dict[str, Accounts], gone: set[str]
) -> dict[Name, list[Location]]:
    """Name → id and version of what can be read by its (resource type, id); `gone` takes the ids of what was deleted.

    `accounts` takes who may see it, by id.
    """
    contents = client.read_each(list(ids.values()), gone, extended=True)
    accounts |= {medplum_id: accounts_in(text) for medplum_id, (_, text) in contents.items()}
    return {name: [(id_, contents[id_][0])] for name, (_, id_) in ids.items() if id_ in contents}


def read_contents(client: MedplumClient, ids: Iterable[tuple[str, str]]) -> dict[str, Content]:
    """Medplum id → content of those among (resource type, id) that are there; what no search shows is read by id."""
    contents: dict[str, Content] = {}
    wanted = list(ids)
    for resource_type, of_type in map_reduce(wanted, itemgetter(0), itemgetter(1)).items():
        for group in chunked(of_type, PAGE):
            contents |= client.texts_by_id(resource_type, group)
    unseen = [(resource_type, medplum_id) for resource_type, medplum_id in wanted if medplum_id not in contents]
    return contents | client.read_each(unseen)
