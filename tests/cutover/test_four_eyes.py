"""A wave moves when two have said so, through whichever door; to open again needs nobody's word."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import replace

import pytest

from medferry.cutover.acts import Act, Place
from medferry.cutover.machine import NotFlipped, Outcome
from medferry.cutover.stages import Stage
from medferry.errors import VerificationFailed
from medferry.manifest import cutovers
from medferry.manifest.cutovers import Direction
from medferry.plan.people import Approval
from medferry.runtime.environment import Environment
from medferry.workflows.cutover import Choice, cut_over, roll_back, switching
from medferry.workflows.cutover_stages import NotMoved, back_out, conclude, perform_stage
from medferry.workflows.cutover_words import say_of_wave
from medferry.workflows.four_eyes import NotAgreed, NotAnApprover, SamePerson, WaitingForSecond
from tests.cutover.conftest import Clinic
from tests.cutover.test_switch import choice, failing, places
from tests.workflows.test_four_eyes import ANN, ANN_IN_AIRFLOW, BOB, CYD, MALLORY, As, acting, asking

__all__ = ["acting"]


@pytest.fixture
def asked(clinic: Clinic) -> Clinic:
    """Two are asked for to move it there and back."""
    return replace(clinic, environment=asking(clinic.environment, Approval.CUTOVER, Approval.ROLLBACK))


def ours() -> Choice:
    return replace(choice(), person="")


def attempts(clinic: Clinic) -> int:
    with clinic.environment.manifest.begin() as connection:
        return len(cutovers.running_attempts(connection, "tiny"))


def test_there_and_back_by_two_each_time(asked: Clinic, acting: As, monkeypatch: pytest.MonkeyPatch) -> None:
    acting(MALLORY)
    with pytest.raises(NotAgreed):
        perform_stage(asked.environment, "pilot", Direction.FORTH, Stage.FREEZE, ours())
    with pytest.raises(NotAnApprover):
        cut_over(asked.environment, "pilot", ours())
    acting(ANN)
    with pytest.raises(WaitingForSecond):
        cut_over(asked.environment, "pilot", ours())
    with pytest.raises(SamePerson):
        cut_over(asked.environment, "pilot", ours())
    acting(ANN_IN_AIRFLOW)
    with pytest.raises(NotAgreed):
        perform_stage(asked.environment, "pilot", Direction.FORTH, Stage.FREEZE, ours())
    assert (places(asked), attempts(asked)) == ({Place.BOTH}, 0), "nothing was begun, and nothing closed"
    acting(BOB)
    with monkeypatch.context() as fault:
        failing(fault, Act.VERIFY, VerificationFailed("Not equal."))
        with pytest.raises(NotFlipped):
            cut_over(asked.environment, "pilot", ours())
    acting(CYD)
    assert cut_over(asked.environment, "pilot", ours()) is Outcome.FLIPPED, "what two have said needs no third"
    acting(ANN)
    with pytest.raises(WaitingForSecond):
        roll_back(asked.environment, "pilot", ours())
    acting(BOB)
    assert roll_back(asked.environment, "pilot", ours()) is Outcome.RETURNED
    with pytest.raises(WaitingForSecond, match="Bob is the first"):
        cut_over(asked.environment, "pilot", ours())  # it has moved since: what was said is over


def test_a_gate_closed_by_hand_over_an_attempt_that_died_long_ago_is_no_freeze(asked: Clinic, acting: As) -> None:
    for actor in (ANN, BOB):
        acting(actor)
        say_of_wave(asked.environment, "pilot", Approval.CUTOVER, "", "")
    brief = replace(ours(), freeze=1.0, patience=1.0)
    perform_stage(asked.environment, "pilot", Direction.FORTH, Stage.FREEZE, brief)  # and its process dies
    time.sleep(brief.freeze + brief.patience)
    assert (places(asked), attempts(asked)) == ({Place.LEGACY}, 1), "it has opened by itself"
    later = asking(asked.environment, Approval.CUTOVER, hours=1e-9)
    found = asked.gate
    with later.capture.connect() as connection:
        epoch = found.read(connection, "north").epoch
    found.close(later.capture, "north", epoch, 600, 5)
    acting(MALLORY)
    with pytest.raises(NotAnApprover):
        cut_over(later, "pilot", ours())
    assert places(asked) == {Place.FROZEN}


def test_a_thaw_is_nobody_s_to_refuse(asked: Clinic, acting: As) -> None:
    for actor in (ANN, BOB):
        acting(actor)
        say_of_wave(asked.environment, "pilot", Approval.CUTOVER, "", "")
    acting("airflow:scheduled")  # whoever has triggered: others have said it
    for undo in (back_out, conclude):
        perform_stage(asked.environment, "pilot", Direction.FORTH, Stage.FREEZE, ours())
        assert Place.FROZEN in places(asked)
        changed = asking(asked.environment, Approval.CUTOVER, hours=1e-9)
        with pytest.raises(NotMoved) if undo is conclude else nullcontext():
            undo(changed, "pilot", Direction.FORTH, ours())
        assert Place.FROZEN not in places(asked)
    perform_stage(asked.environment, "pilot", Direction.FORTH, Stage.FREEZE, ours())
    acting(MALLORY)
    assert roll_back(asked.environment, "pilot", ours()) is Outcome.NOT_FLIPPED
    assert Place.FROZEN not in places(asked)


@pytest.fixture
def flipped(asked: Clinic, acting: As) -> Clinic:
    """It is in Medplum; two have said that it is to go back."""
    for actor in (ANN, BOB):
        acting(actor)
        say_of_wave(asked.environment, "pilot", Approval.CUTOVER, "", "")
    assert cut_over(asked.environment, "pilot", ours()) is Outcome.FLIPPED
    for actor in (ANN, BOB):
        acting(actor)
        say_of_wave(asked.environment, "pilot", Approval.ROLLBACK, "", "")
    return asked


def weeks_later(clinic: Clinic) -> Environment:
    """No word that was said before counts any more."""
    return asking(clinic.environment, Approval.CUTOVER, Approval.ROLLBACK, hours=1e-9)


def test_a_rollback_that_died_before_it_closed_anything_is_asked_for_anew(flipped: Clinic, acting: As) -> None:
    acting("airflow:scheduled")
    with switching(flipped.environment, "pilot", Direction.BACK, ours()):
        pass  # its process dies here
    assert (places(flipped), attempts(flipped)) == ({Place.MEDPLUM}, 1)
    with pytest.raises(NotAgreed):
        perform_stage(weeks_later(flipped), "pilot", Direction.BACK, Stage.FREEZE, ours())
    acting(CYD)
    with pytest.raises(WaitingForSecond):
        roll_back(weeks_later(flipped), "pilot", ours())
    assert (places(flipped), attempts(flipped)) == ({Place.MEDPLUM}, 1)
    acting(MALLORY)
    assert roll_back(flipped.environment, "pilot", ours()) is Outcome.RETURNED, "within their hours two words hold"


def test_a_rollback_that_has_closed_is_gone_on_with_by_anybody(flipped: Clinic, acting: As) -> None:
    acting("airflow:scheduled")
    perform_stage(flipped.environment, "pilot", Direction.BACK, Stage.FREEZE, ours())  # and its process dies
    assert places(flipped) == {Place.BETWEEN}
    acting(MALLORY)
    assert roll_back(weeks_later(flipped), "pilot", ours()) is Outcome.RETURNED, (
        "nobody can write: nobody is waited for"
    )
