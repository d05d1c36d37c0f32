"""How workers share the tests (`make test`, `make faults`): in units that stay together, the long ones first."""

from __future__ import annotations

import re

from xdist.scheduler import LoadScopeScheduling

HEAVY = ("airflow", "bench", "demo")
"""Folders that fill the machine by themselves, so that one worker runs them all, one after the other."""

WHOLE = ("changes", "compose", "contract", "dags", "demo_clinics", "source", "synthea")
"""Folders whose tests share something dear, such as three engines, that each worker would make anew."""

SEEDED = {"faults": 20, "simulator": 1}
"""Folders of simulations by seed, and how many of one test are run together: the long suite is mostly two tests."""

_SEED = re.compile(r"\[(\d+)\]$")


def unit_of(nodeid: str) -> str:
    """What a test must stay together with: the heavy folders, its folder, its file, or so many seeds of its file."""
    file = nodeid.split("::", 1)[0]
    folder = file.split("/")[1]
    if folder in HEAVY:
        return "heavy"
    if folder in SEEDED and (seed := _SEED.search(nodeid)):
        return f"{file}[{int(seed[1]) // SEEDED[folder]}]"
    return folder if folder in WHOLE else file


class Units(LoadScopeScheduling):
    """Hands a worker that has nothing to do the next unit, in the order of the collection: the heavy one first."""

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)
