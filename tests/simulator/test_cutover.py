"""Whoever dies at whichever act of a flip, there or back: no unit is ever written in two systems, no write is lost."""

from __future__ import annotations

import pytest

from tests.simulator import test_simulator
from tests.simulator.test_engines import legacy
from tests.simulator.test_simulator import LONG

__all__ = ["legacy"]

STEP = 4 if LONG else 31
FAULTS = 5
"""That are planted: each needs a server of its own."""
SERVERS = ["postgresql", "mariadb"]


@pytest.mark.parametrize("first", range(STEP if LONG else 1))
def test_killed_at_every_act_of_the_switch(first: int) -> None:
    test_simulator.run_module("tests.simulator.cutover", "kills", first, STEP)


@pytest.mark.parametrize("legacy", SERVERS, indirect=True)
@pytest.mark.parametrize("first", range(STEP) if LONG else [45])
def test_killed_at_acts_of_the_switch_on_a_server(legacy: str, first: int) -> None:
    """Whatever a server's locks and isolation add: at every act in `make faults`, in `make test` at three."""
    test_simulator.run_module("tests.simulator.cutover", "kills", first, STEP if LONG else 60, legacy)


def test_every_planted_fault_of_the_switch_is_found() -> None:
    test_simulator.run_module("tests.simulator.cutover", "planted", 0, 1)


@pytest.mark.skipif(not LONG, reason="a part of `make faults`")
@pytest.mark.parametrize("legacy", SERVERS, indirect=True)
@pytest.mark.parametrize("first", range(FAULTS))
def test_a_planted_fault_of_the_switch_is_found_on_a_server(legacy: str, first: int) -> None:
    test_simulator.run_module("tests.simulator.cutover", "planted", first, FAULTS, legacy)
