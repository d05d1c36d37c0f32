"""Whoever dies at whichever act of a flip, there or back: no unit is ever written in two systems, no write is lost."""

from __future__ import annotations

import pytest

from tests.simulator import test_simulator
from tests.simulator.test_simulator import LONG

STEP = 4 if LONG else 31


@pytest.mark.parametrize("first", range(STEP if LONG else 1))
def test_killed_at_every_act_of_the_switch(first: int) -> None:
    test_simulator.run_module("tests.simulator.cutover", "kills", first, STEP)


def test_every_planted_fault_of_the_switch_is_found() -> None:
    test_simulator.run_module("tests.simulator.cutover", "planted")
