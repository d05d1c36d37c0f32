"""How long a slice waits for what got no answer: bad luck does not end it, a server that never answers does."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from medferry.apply.chunk import LOST, WAITING
from medferry.apply.writer import NotSettled
from medferry.manifest.runs import slices_of
from medferry.runtime.environment import Environment, own_run
from medferry.runtime.hold import Hold
from medferry.runtime.options import RunOptions
from medferry.stages.patience import LEAST_SECONDS, LOSSES, Patience
from medferry.stages.prepare import RunScope, prepare_run
from tests.medplum.test_budget import Clock


def patience(tiny: Environment, clock: Clock, settle: float) -> Patience:
    environment = replace(tiny, settings=replace(tiny.settings, settle_seconds=settle))
    prepare_run(environment, "r", "run", RunScope(["north"], ["patient"]), RunOptions())
    run, _ = own_run(environment, "r")
    with environment.manifest.begin() as connection:
        [slice_] = slices_of(connection, "r")
    return Patience(Hold(environment, run, slice_), clock.sleep, clock)


@pytest.mark.parametrize("settle", [20.0, 600.0])
def test_it_gives_up_after_many_losses_and_a_long_time_without_progress(tiny: Environment, settle: float) -> None:
    clock = Clock()
    waits = patience(tiny, clock, settle)
    losses: list[float] = []
    with pytest.raises(NotSettled, match="1 records of patient could not be settled"):
        for _ in range(1_000):
            waits.wait(Counter({WAITING: 1, LOST: 1}), progress=False)
            losses.append(clock.now)
    assert len(losses) >= LOSSES - 1
    assert clock.now >= LEAST_SECONDS


def test_progress_begins_it_anew(tiny: Environment) -> None:
    clock = Clock()
    waits = patience(tiny, clock, 600.0)
    for number in range(600):
        waits.wait(Counter({WAITING: 1, LOST: 1}), progress=number % 100 == 0)
    assert clock.now > 4 * LEAST_SECONDS


def test_what_is_only_waited_for_is_no_loss(tiny: Environment) -> None:
    clock = Clock()
    waits = patience(tiny, clock, 600.0)
    for _ in range(200):
        waits.wait(Counter({WAITING: 1}), progress=False)
    assert clock.now > LEAST_SECONDS
