"""Whether Medplum can hold anything of a slice: where it cannot, nothing has to be looked up."""

from __future__ import annotations

from medferry.manifest.crosswalk import knows_system
from medferry.manifest.runs import RunRow, SliceRow
from medferry.manifest.sent_batches import any_open
from medferry.medplum.client import MedplumClient
from medferry.medplum.errors import MedplumUnavailable
from medferry.runtime.environment import Environment


def nothing_there(environment: Environment, run: RunRow, client: MedplumClient, slice_: SliceRow) -> bool:
    """Whether nothing under the slice's identifier systems was ever written: then there is nothing to look up.

    Only for the first worker of a slice that no run has loaded, and that nothing was sent of without a known end.
    """
    if slice_.fence > 1 or not slice_.bundles:
        return False
    with environment.manifest.begin() as connection:
        if any_open(connection, run.migration, slice_.entity, client.server_clock.now()):
            return False
    naming, slots = environment.migration.naming, environment.migration.specs[slice_.entity].produces
    for slot, resource_type in slots.items():
        system = naming.system(slice_.entity, slot)
        with environment.manifest.begin() as connection:
            if knows_system(connection, run.migration, system):
                return False
        try:
            if client.any_of_system(resource_type, system):
                return False
        except MedplumUnavailable:
            return False  # not known: each chunk looks for itself
    return True
