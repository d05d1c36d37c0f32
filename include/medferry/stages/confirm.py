"""Confirm a slice whose rows are those of an earlier run: is what that one wrote still in Medplum, unchanged?"""

from __future__ import annotations

from collections import defaultdict

from medferry.manifest import leases, repeats, runs
from medferry.manifest.runs import RunRow, SliceRow
from medferry.medplum.client import PAGE, MedplumClient
from medferry.runtime.control import checkpoint
from medferry.runtime.environment import Environment, scopes_of


def confirmed(environment: Environment, client: MedplumClient, run: RunRow, mine: SliceRow) -> int | None:
    """Settle a repeated slice as unchanged; returns the number of successful source records.

    None when anything differs, or what it refers to has another id now: then the slice waits to be extracted anew. To
    be called by the slice's only worker, which has taken it, when all that it refers to is loaded; raises LeaseLost
    when it no longer is.
    """
    checkpoint(environment, run)
    with environment.manifest.begin() as connection:
        earlier = repeats.repeated(connection, mine)
        referred = environment.migration.specs[mine.entity].references
        moved = repeats.has_moved(connection, run, earlier, referred)
        places = repeats.places_of(connection, run.migration, earlier)
    same = not moved and _all_there(client, places)
    with environment.manifest.begin() as connection:
        runs.check_slice(connection, mine)
        leases.check(connection, run.migration, run.id, scopes_of(run))
        if not same:
            repeats.start_anew(connection, mine)
            return None
        number = repeats.confirm(connection, run, mine, earlier)
        runs.set_stage(connection, run.id, mine.id, "loaded")
    return number


def _all_there(client: MedplumClient, places: list[repeats.Place]) -> bool:
    by_type: dict[str, dict[str, str]] = defaultdict(dict)
    for resource_type, medplum_id, version in places:
        by_type[resource_type][medplum_id] = version
    for resource_type, versions in by_type.items():
        ids = list(versions)
        for start in range(0, len(ids), PAGE):
            some = ids[start : start + PAGE]
            if client.versions(resource_type, some) != {one: versions[one] for one in some}:
                return False
    return True
