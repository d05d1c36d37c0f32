"""Two workers with one slice, two runs of one scope."""

from __future__ import annotations

from tests.faults.simulator import Nursery, World


def test_the_same_slice_given_to_two_workers_doubles_nothing(world: World, nurseries: list[Nursery]) -> None:
    """The first worker stands still between its look-up and its batch: the second is refused."""
    assert world.do("stage").status == 0
    for entity in ("clinic", "patient"):
        assert world.do("load", entity=entity).status == 0
    with world.paused("batch", what="load", entity="weight", nursery=nurseries[0]) as ended:
        second = world.do("load", entity="weight", nursery=nurseries[1])
        assert second.error.startswith("SliceBusy: Slice weight-")
        assert second.sent == 0
    [first] = ended
    assert (first.status, first.error) == (0, "")
    assert "! batch 1" in first.steps
    assert world.do().status == 0
    assert world.problems() == []


def test_a_second_run_of_the_same_scope_is_refused_and_told_the_holder(world: World, nurseries: list[Nursery]) -> None:
    with world.paused("batch", nursery=nurseries[0]) as ended:
        second = world.do(run_id="second", nursery=nurseries[1])
        assert second.status == 1
        assert second.error.startswith("LeaseHeld: Run r holds ")
        assert second.sent == 0
    assert ended[0].status == 0
    assert world.problems() == []
