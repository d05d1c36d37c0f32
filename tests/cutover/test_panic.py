"""Panic in every situation: nothing is written any more, what is not flipped is thawed, and what is flipped stays."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from medferry.cutover import switch as switching
from medferry.cutover.acts import Act, Place
from medferry.cutover.machine import NotFlipped, NotReturned, Outcome, Stuck
from medferry.cutover.stages import Stage
from medferry.errors import OptionError
from medferry.manifest import runs
from medferry.manifest.cutovers import AttemptState, Direction
from medferry.manifest.decisions import decisions_of
from medferry.manifest.panics import Panicked
from medferry.runtime.control import RunAborted
from medferry.runtime.environment import Environment
from medferry.runtime.options import RunOptions
from medferry.stages.prepare import scope_of
from medferry.sync.cycle import cycle
from medferry.sync.reverse_cycle import back_cycle
from medferry.sync.wave import synced_wave
from medferry.workflows.cutover import Choice, cut_over, roll_back
from medferry.workflows.cutover_stages import perform_stage
from medferry.workflows.migrate import execute_run
from medferry.workflows.panic import NotAllStopped, Panic, lift, panic, present_panic
from tests.cutover.conftest import Clinic
from tests.cutover.test_stages import BEFORE, attempts, do
from tests.cutover.test_switch import choice, failing, family, legacy_writes, places
from tests.workflows.test_migrate import migrate

ADA, WHY = "Ada", "Charts lack allergies."


def say(environment: Environment, patience: float = 1.0) -> list[str]:
    told: list[str] = []
    panic(environment, Panic(Choice(ADA, patience=patience), WHY, told.append))
    return told


def test_in_a_freeze_after_a_flip_and_again(clinic: Clinic) -> None:
    environment = clinic.environment
    do(clinic, *BEFORE)
    assert places(clinic) == {Place.FROZEN}
    with ThreadPoolExecutor(2) as both:
        assert len(list(both.map(lambda _: say(environment, 20.0), range(2)))) == 2
    assert places(clinic) == {Place.LEGACY} and legacy_writes(clinic, 1, "Adair")
    assert attempts(clinic) == [AttemptState.BACKED_OUT]
    for write in (
        lambda: cut_over(environment, "pilot", choice()),
        lambda: cycle(synced_wave(environment, "pilot")),
        lambda: perform_stage(environment, "pilot", *_flip()),
    ):
        with pytest.raises(Panicked, match="Ada has stopped all writing of tiny"):
            write()
    assert places(clinic) == {Place.LEGACY}
    held = present_panic(environment)
    assert held is not None and (held.decision.person, held.decision.note) == (ADA, WHY)
    assert lift(environment, ADA, "The charts were looked at.") and not lift(environment, ADA, "The charts were seen.")
    assert cut_over(environment, "pilot", choice()) is Outcome.FLIPPED, "no reload"
    assert clinic.rename(1, "Baker") == 200
    do(clinic, Stage.FREEZE, direction=Direction.BACK)
    assert places(clinic) == {Place.BETWEEN} and clinic.rename(1, "Nobody") == 403
    assert say(environment)[-1].startswith("wave pilot: backed out"), "a way back is backed out of, too"
    assert places(clinic) == {Place.MEDPLUM} and clinic.rename(1, "Baker") == 200
    lift(environment, ADA, "The charts were looked at.")
    assert say(environment) == ["all writing is held"] and say(environment) == ["all writing was held before"]
    assert places(clinic) == {Place.MEDPLUM} and clinic.rename(2, "Bell") == 200, "a flipped wave stays so"
    with pytest.raises(Panicked):
        back_cycle(synced_wave(environment, "pilot"))
    with pytest.raises(NotReturned, match="Ada has stopped all writing"):
        roll_back(environment, "pilot", choice())
    assert places(clinic) == {Place.MEDPLUM} and clinic.rename(2, "Burns") == 200
    lift(environment, ADA, "The charts were looked at.")
    assert roll_back(environment, "pilot", choice()) is Outcome.RETURNED
    assert (family(clinic, 1), family(clinic, 2)) == ("Baker", "Burns")
    with environment.manifest.begin() as connection:
        said = [one.decision.verdict for one in decisions_of(connection, "panic/tiny")]
    assert said == ["held", "lifted"] * 3


def _flip() -> Any:
    return Direction.FORTH, Stage.FREEZE, choice()


def test_who_moves_units_now_notices_and_thaws_by_himself(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    def meanwhile(_: Any) -> str:
        with pytest.raises(NotAllStopped, match="Another process moves units"):
            say(clinic.environment)
        return "nobody looked"

    monkeypatch.setitem(switching._ACTS, Act.VERIFY, meanwhile)  # type: ignore[arg-type]
    with pytest.raises(NotFlipped, match="Ada has stopped all writing"):
        cut_over(clinic.environment, "pilot", choice())
    assert places(clinic) <= {Place.LEGACY, Place.BOTH} and legacy_writes(clinic, 1, "Adair")
    assert say(clinic.environment) == ["all writing was held before"]


def test_a_flip_that_has_begun_is_told_and_can_be_completed(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        failing(patch, Act.OPEN_MEDPLUM, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            cut_over(clinic.environment, "pilot", choice())
    assert places(clinic) == {Place.BETWEEN}
    with pytest.raises(NotAllStopped, match=r"north can be written nowhere.*`medferry cutover pilot` completes it"):
        say(clinic.environment)
    assert places(clinic) == {Place.BETWEEN} and not legacy_writes(clinic, 1, "Lost")
    with pytest.raises(Stuck, match="has stopped all writing"):
        cut_over(clinic.environment, "pilot", choice())
    assert places(clinic) == {Place.MEDPLUM} and clinic.rename(1, "Baker") == 200
    assert say(clinic.environment) and places(clinic) == {Place.MEDPLUM}


def test_in_a_load_each_worker_ends_after_its_chunk(tiny: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr("medferry.runtime.control.LOOK_SECONDS", 0.0)
    with pytest.raises((RunAborted, Panicked)):
        scope = scope_of(tiny.migration, None, None)
        execute_run(tiny, "first", "run", scope, RunOptions(), lambda *_: told or told.extend(say(tiny)))
    assert told == ["all writing is held", "run first ends after its chunk"]
    with tiny.manifest.begin() as connection:
        assert runs.get_run(connection, "first").finished_at is not None
    with pytest.raises(Panicked):
        migrate(tiny, "second")
    with pytest.raises(OptionError, match="must answer for it"):
        panic(tiny, Panic(Choice(" "), WHY))
    assert lift(tiny, ADA, "It was a false alarm.")
    migrate(tiny, "third")
