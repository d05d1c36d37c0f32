"""Two workers with one slice, two runs of one scope."""

from __future__ import annotations

import pytest

from tests.faults.checker import read_ledger
from tests.faults.expected import expected
from tests.faults.simulator import Nursery, World


@pytest.fixture
def overtaken(world: World, nurseries: list[Nursery]) -> World:
    """The first worker stands still between its look-up and its batch while the second loads the whole slice."""
    assert world.do("stage").status == 0
    for entity in ("clinic", "patient"):
        assert world.do("load", entity=entity).status == 0
    with world.paused(1, what="load", entity="weight", nursery=nurseries[0]) as ended:
        second = world.do("load", entity="weight", nursery=nurseries[1])
        assert (second.status, second.error) == (0, "")
    [stale] = ended
    assert stale.steps[1] == "! batch 30"
    assert stale.error.startswith("LeaseLost: Another worker took slice weight-")
    return world


def test_the_same_slice_given_to_two_workers_keeps_the_manifest_of_the_second(overtaken: World) -> None:
    ledger = read_ledger(overtaken.scene(), "r")
    wanted = expected(overtaken.source, overtaken.base, overtaken.name)
    weights = {(e, key): (end, why) for e, key, end, why in ledger.units if e == "weight"}
    assert weights == {unit: end for unit, end in wanted.dispositions.items() if unit[0] == "weight"}
    assert len([name for name in ledger.targets if name[0] == "Observation"]) == 30


@pytest.mark.xfail(strict=True, reason="a worker that was overtaken after its look-up still sends its batch")
def test_the_same_slice_given_to_two_workers_doubles_nothing(overtaken: World) -> None:
    assert overtaken.do().status == 0
    assert overtaken.problems() == []


def test_a_second_run_of_the_same_scope_is_refused_and_told_the_holder(world: World, nurseries: list[Nursery]) -> None:
    with world.paused(20, nursery=nurseries[0]) as ended:
        second = world.do(run_id="second", nursery=nurseries[1])
        assert second.status == 1
        assert second.error.startswith("LeaseHeld: Run r holds ")
        assert second.sent == 0
    assert ended[0].status == 0
    assert world.problems() == []
