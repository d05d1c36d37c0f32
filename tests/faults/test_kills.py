"""SIGKILL at every step of a run and at random moments: the same run goes on to the right end."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.checker import count_all
from tests.faults.conftest import LONG
from tests.faults.expected import expected
from tests.faults.simulator import Nursery, World

OPTIONS = [
    {"lanes": 1},
    *([{"lanes": 1, "slice_rows": 10, "batch_size": 4, "load_mode": "conditional"}] if LONG else []),
]

SLACK = 5 if LONG else 0
"""Where reads count as steps, too, a look at the clock (a renewed lease, an operator's wish) moves their number."""


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_sigkill_at_every_durable_step(
    options: dict[str, object], make_world: Callable[..., World], nurseries: list[Nursery]
) -> None:
    plain = make_world()
    before = Counter(count_all(plain.scene()))
    whole = plain.do(options=options, every=LONG)
    assert plain.problems() == []
    worlds = [make_world() for _ in range(len(whole.steps) + 1)]
    # A slice redoes one chunk at most. With small slices, several are at work: as many as there are threads.
    chunk = 30 if "slice_rows" not in options else int(str(options["slice_rows"])) * 3

    def kill_and_go_on(step: int) -> list[str]:
        world, nursery = worlds[step], nurseries[step % 2]
        first = world.do(nursery=nursery, options=options, at=step, do="kill", every=LONG)
        assert first.killed or step >= len(whole.steps) - SLACK, first
        second = world.do(nursery=nursery, options=options, every=LONG)
        found = world.problems() + ([f"the run ended with {second.error}"] if second.status else [])
        redone = first.sent + second.sent - whole.sent
        return found + ([f"{redone} entries sent again"] if redone > chunk else [])

    with ThreadPoolExecutor(2) as both:
        found = dict(enumerate(both.map(kill_and_go_on, range(len(worlds)))))
    steps = [*whole.steps, "none"]
    assert {steps[step]: lines for step, lines in found.items() if lines} == {}
    one = Counter(name[0] for name in expected(plain.source, plain.base, plain.name).resources)
    after = Counter(count_all(plain.scene()))
    assert after - before == Counter({resource_type: n * (len(worlds) + 1) for resource_type, n in one.items()})


@pytest.mark.parametrize("seed", range(4))
def test_sigkill_again_and_again(seed: int, world: World) -> None:
    """Each life gets a few steps further than the one before, until the run is through."""
    dice = random.Random(seed)
    lives, at = 0, 0
    while world.do(at=at, do="kill", options={"slice_rows": 10, "batch_size": 7}).killed:
        lives, at = lives + 1, at + dice.randint(1, 9)
    assert lives > 3
    assert world.problems() == []
