"""Run simulations: ``python -m tests.simulator seeds FIRST LAST [STEP]``, ``births …``, ``programs …``,
``planted NAME …``, or on real servers ``engines FIRST LAST MEDPLUM CLIENT SECRET [LEGACY]``.

It prints what went wrong, a line each, and ends with 1 then; of planted faults, those that nobody found. A seed is the
same wherever it is run.
"""

# ruff: noqa: E402 -- the clock comes before whatever keeps one
from __future__ import annotations

from tests.simulator import clock

clock.begin()

import logging
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.simulator.engines import medplum_at, open_world
from tests.simulator.planted import OF_BIRTHS, PLANTED, planted
from tests.simulator.schedule import MEMORY, births_by_seed, by_program, by_seed, by_seed_in


def main(what: str, *arguments: str) -> int:
    logging.disable(logging.CRITICAL)
    found = 0

    def tell(problem: str) -> None:
        nonlocal found
        found += 1
        sys.stdout.write(f"{problem}\n")

    if what == "engines":
        first, last, base_url, client_id, client_secret, *legacy = arguments
        with TemporaryDirectory(dir=MEMORY) as folder:
            world = open_world(Path(folder), medplum_at(base_url, client_id, client_secret), *legacy)
            for number in range(int(first), int(last)):
                one = by_seed_in(world, number)
                for problem in one.problems:
                    tell(f"seed {number}: {problem}; {one.told}; {one.users.facts.told}")
            world.close()
        return int(found > 0)
    if what == "planted":
        for name in arguments or PLANTED | OF_BIRTHS:
            seed = _first_found(name)
            if seed is None:
                tell(f"not found: {name}")
            elif arguments:
                sys.stdout.write(f"found by seed {seed}: {name}\n")
        return int(found > 0)
    for number in range(*map(int, arguments)):
        if what == "programs":
            by_program(number, tell)
            continue
        one = births_by_seed(number) if what == "births" else by_seed(number)
        for problem in one.problems:
            tell(f"seed {number}: {problem}; {one.told}; {one.users.facts.told}")
    return int(found > 0)


def _first_found(name: str) -> int | None:
    """The first of its seeds that finds a planted fault."""
    way = births_by_seed if name in OF_BIRTHS else by_seed
    with planted(name):
        return next((seed for seed in (PLANTED | OF_BIRTHS)[name][1] if way(seed).problems), None)


if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets must be the same, too
    os.execve(
        sys.executable, [sys.executable, "-m", "tests.simulator", *sys.argv[1:]], {**os.environ, "PYTHONHASHSEED": "0"}
    )
sys.exit(main(*sys.argv[1:]))
