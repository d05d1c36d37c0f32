"""A cutover stage by stage, as Airflow does it: whatever is cleared, repeated or skipped, nothing is flipped early."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medferry.cutover.acts import BACK, FORTH, OBSERVE, Act, Place
from medferry.cutover.machine import Stuck
from medferry.cutover.stages import STAGES, Stage, acts_before, missing_before
from medferry.errors import VerificationFailed
from medferry.manifest import cutovers
from medferry.manifest.cutovers import ActRow, AttemptState, Direction
from medferry.workflows.cutover_stages import NotMoved, OutOfOrder, back_out, conclude, perform_stage
from tests.cutover.conftest import Clinic
from tests.cutover.test_switch import choice, failing, family, in_medplum, legacy_writes, places

BEFORE = [Stage.FREEZE, Stage.FENCE, Stage.FINAL_CUT, Stage.VERIFY, Stage.REVERSE_START]


def test_the_stages_are_the_acts_of_the_switch_in_its_order() -> None:
    assert [act for of in STAGES[Direction.FORTH].values() for act in of.acts] == [*FORTH]
    assert [act for of in STAGES[Direction.BACK].values() for act in of.acts] == [*BACK]


# -- what a flip needs -----------------------------------------------------------------------------


def row(act: Act, failed: bool = False, ended: bool = True) -> ActRow:
    return ActRow(act, "A. Operator", "t", "t" if ended else None, failed, "")


NEEDED = acts_before(Direction.FORTH, Stage.FLIP)
rows = st.builds(row, st.sampled_from([*NEEDED, Act.THAW]), st.booleans(), st.booleans())


@given(st.lists(rows, max_size=30))
def test_a_flip_follows_the_last_freeze_with_every_act_in_its_order(acts: list[ActRow]) -> None:
    """Said in another way than the code says it: the last success of each is later than all tries of those before."""
    since = max((place for place, each in enumerate(acts) if each.act == Act.THAW), default=-1)
    counted = acts[since + 1 :]

    def last(act: Act) -> int:
        return max((n for n, each in enumerate(counted) if each.act == act), default=-1)

    complete = all(
        last(act) >= 0
        and counted[last(act)].ended_at is not None
        and not counted[last(act)].failed
        and all(last(act) > last(earlier) for earlier in NEEDED[:number])
        for number, act in enumerate(NEEDED)
    )
    if not complete:
        assert missing_before(Direction.FORTH, Stage.FLIP, acts)
    if complete and [each.act for each in counted] == NEEDED:
        assert missing_before(Direction.FORTH, Stage.FLIP, acts) == []


def test_what_is_repeated_takes_away_what_came_after_it() -> None:
    whole = [row(act) for act in NEEDED]
    assert missing_before(Direction.FORTH, Stage.FLIP, whole) == []
    assert (
        missing_before(Direction.FORTH, Stage.FLIP, [*whole, row(Act.FENCE)]) == NEEDED[NEEDED.index(Act.FENCE) + 1 :]
    )
    assert missing_before(Direction.FORTH, Stage.FLIP, [*whole, row(Act.VERIFY, failed=True)])[0] is Act.VERIFY
    assert missing_before(Direction.FORTH, Stage.FLIP, [*whole, row(Act.THAW)]) == NEEDED


# -- on real gates ---------------------------------------------------------------------------------


def do(clinic: Clinic, *stages: Stage, direction: Direction = Direction.FORTH, done: list[Act] | None = None) -> None:
    for stage in stages:
        perform_stage(clinic.environment, "pilot", direction, stage, choice(done))


def thaw(clinic: Clinic, direction: Direction = Direction.FORTH) -> str:
    return back_out(clinic.environment, "pilot", direction, choice())


def attempts(clinic: Clinic) -> list[AttemptState]:
    with clinic.environment.manifest.begin() as connection:
        newest = cutovers.newest_attempt(connection, "tiny", "pilot")
        running = cutovers.running_attempts(connection, "tiny")
    assert newest is not None
    return [newest.state, *(one.state for one in running)]


def test_there_and_back_stage_by_stage(clinic: Clinic) -> None:
    done: list[Act] = []
    assert legacy_writes(clinic, 1, "Adair")
    do(clinic, *BEFORE, done=done)
    assert places(clinic) == {Place.FROZEN} and not legacy_writes(clinic, 1, "Lost")
    do(clinic, Stage.FLIP, Stage.OBSERVE, done=done)
    assert done == [*FORTH] and attempts(clinic) == [AttemptState.DONE]
    assert places(clinic) == {Place.MEDPLUM} and in_medplum(clinic, 1) == "Adair"
    assert thaw(clinic).startswith("nothing to do")
    assert clinic.rename(1, "Baker") == 200
    done.clear()
    do(clinic, *STAGES[Direction.BACK], direction=Direction.BACK, done=done)
    assert done == [*BACK] and attempts(clinic) == [AttemptState.DONE]
    assert places(clinic) == {Place.LEGACY} and family(clinic, 1) == "Baker"
    assert thaw(clinic, Direction.BACK).startswith("nothing to do")


def test_nothing_is_flipped_that_was_not_drained_and_verified(clinic: Clinic) -> None:
    """As where an operator marks a task as a success, or clears one alone after everything was thawed."""
    with pytest.raises(OutOfOrder, match="close-medplum"):
        do(clinic, Stage.FLIP)
    do(clinic, Stage.FREEZE)
    for stage in (Stage.FINAL_CUT, Stage.VERIFY, Stage.REVERSE_START):
        with pytest.raises(OutOfOrder, match="fence"):
            do(clinic, stage)
    do(clinic, Stage.FENCE, Stage.FINAL_CUT)
    with pytest.raises(OutOfOrder, match="verify, reverse-start was not done"):
        do(clinic, Stage.FLIP)
    do(clinic, Stage.VERIFY, Stage.REVERSE_START, Stage.FENCE)
    with pytest.raises(OutOfOrder, match="final-cut, verify, reverse-start"):
        do(clinic, Stage.FLIP)
    assert places(clinic) == {Place.FROZEN}
    assert thaw(clinic).startswith("backed out")
    do(clinic, Stage.FREEZE)
    with pytest.raises(OutOfOrder, match="fence, final-cut, verify, reverse-start"):
        do(clinic, Stage.FLIP)
    assert thaw(clinic).startswith("backed out") and legacy_writes(clinic, 1, "Adair")


def test_a_flip_that_is_marked_as_done_is_thawed(clinic: Clinic) -> None:
    """What observes it would end the attempt, and then nobody would open what is closed before its time is over."""
    do(clinic, *BEFORE)
    with pytest.raises(OutOfOrder, match="north: frozen"):
        do(clinic, Stage.OBSERVE)
    assert thaw(clinic).startswith("backed out") and legacy_writes(clinic, 1, "Adair")


def test_what_fails_in_the_freeze_is_thawed(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    do(clinic, Stage.FREEZE, Stage.FENCE, Stage.FINAL_CUT)
    with monkeypatch.context() as patch:
        failing(patch, Act.VERIFY, VerificationFailed("Something differs."))
        with pytest.raises(VerificationFailed):
            do(clinic, Stage.VERIFY)
    assert places(clinic) == {Place.FROZEN}
    assert thaw(clinic).startswith("backed out")
    assert attempts(clinic) == [AttemptState.BACKED_OUT] and legacy_writes(clinic, 1, "Adair")


def test_a_freeze_that_fails_thaws_by_itself(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow runs a teardown only where its setup has succeeded."""
    with monkeypatch.context() as patch:
        failing(patch, Act.CLOSE_LEGACY, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            do(clinic, Stage.FREEZE)
    assert attempts(clinic) == [AttemptState.BACKED_OUT]
    assert places(clinic) <= {Place.LEGACY, Place.BOTH} and legacy_writes(clinic, 1, "Adair")


def test_a_flip_that_dies_goes_on_and_is_not_thawed(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    do(clinic, *BEFORE)
    with monkeypatch.context() as patch:
        failing(patch, Act.OPEN_MEDPLUM, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            do(clinic, Stage.FLIP)
    assert places(clinic) == {Place.BETWEEN}
    with pytest.raises(Stuck, match="The flip has begun"):
        thaw(clinic)
    done: list[Act] = []
    do(clinic, *BEFORE, done=done)  # cleared with its setup and all between
    assert done == [] and places(clinic) == {Place.BETWEEN}
    do(clinic, Stage.FLIP, Stage.OBSERVE, done=done)
    assert done == [Act.OPEN_MEDPLUM, Act.ROUTE, Act.REVERSE_ON, *OBSERVE] and places(clinic) == {Place.MEDPLUM}


def test_what_is_cleared_after_the_flip_closes_nothing(clinic: Clinic) -> None:
    do(clinic, *STAGES[Direction.FORTH])
    done: list[Act] = []
    do(clinic, *BEFORE, done=done)
    assert done == [] and clinic.rename(1, "Baker") == 200
    do(clinic, Stage.FLIP, Stage.OBSERVE, done=done)
    assert done == [] and attempts(clinic) == [AttemptState.DONE], "nothing was begun, so nothing is left to end"
    assert places(clinic) == {Place.MEDPLUM} and clinic.rename(1, "Bell") == 200


def test_a_way_back_that_cannot_be_proven_opens_medplum_again(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    do(clinic, *STAGES[Direction.FORTH])
    back: dict[str, Any] = {"direction": Direction.BACK}
    do(clinic, Stage.FREEZE, Stage.FINAL_CUT, **back)
    assert clinic.rename(1, "Nobody") == 403
    with monkeypatch.context() as patch:
        failing(patch, Act.PROVE, VerificationFailed("A write is not in the legacy database."))
        with pytest.raises(VerificationFailed):
            do(clinic, Stage.VERIFY, **back)
    with pytest.raises(OutOfOrder, match="prove"):
        do(clinic, Stage.FLIP, **back)
    assert thaw(clinic, Direction.BACK).startswith("backed out")
    assert places(clinic) == {Place.MEDPLUM} and clinic.rename(1, "Baker") == 200


def test_it_is_done_only_where_the_units_have_moved(clinic: Clinic) -> None:
    """The colour of a DAG run: whatever was marked as a success, and whatever was backed out of in good order."""

    def ended(direction: Direction) -> str:
        return conclude(clinic.environment, "pilot", direction, choice())

    with pytest.raises(NotMoved, match="no attempt is at work"):
        ended(Direction.FORTH)
    do(clinic, *BEFORE[:2])
    with pytest.raises(NotMoved, match="backed out: nothing has changed"):
        ended(Direction.FORTH)
    assert places(clinic) == {Place.LEGACY} and legacy_writes(clinic, 1, "Adair")
    do(clinic, *STAGES[Direction.FORTH])
    assert ended(Direction.FORTH) == "nothing to do: no attempt is at work"
    do(clinic, Stage.FREEZE, direction=Direction.BACK)
    with pytest.raises(NotMoved, match="backed out"):
        ended(Direction.BACK)
    assert places(clinic) == {Place.MEDPLUM}
