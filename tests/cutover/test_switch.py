"""A unit moves to Medplum and back: nobody can write in both, nothing is lost, and what fails changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from medferry.cli.cutover import _show
from medferry.cutover import switch as switching
from medferry.cutover.acts import BACK, FORTH, OBSERVE, Act, Place
from medferry.cutover.drain import Time
from medferry.cutover.gates import Gates
from medferry.cutover.machine import NotFlipped, NotReturned, Outcome, Stuck
from medferry.cutover.stages import Stage
from medferry.errors import VerificationFailed
from medferry.governance.forecast import score
from medferry.manifest import cutovers, sent_batches
from medferry.manifest.crosswalk import Action
from medferry.manifest.cutovers import AttemptState, Direction, UnitStage
from medferry.manifest.sent_batches import Sending, SentEntry
from medferry.source.gate.gate import GATE, GateState
from medferry.sync.cycle import cycle
from medferry.sync.reverse_cycle import back_cycle
from medferry.sync.wave import synced_wave
from medferry.workflows.cutover import Choice, CutoverBusy, Otherwise, cut_over, only_mover, prepare, roll_back, told
from medferry.workflows.cutover import switching as switching_units
from medferry.workflows.cutover_stages import perform_stage
from medferry.workflows.cutover_status import cutover_status
from medferry.workflows.readiness_facts import Facts
from tests.cutover.conftest import Clinic

WHO = "A. Operator"


def choice(done: list[Act] | None = None, **values: Any) -> Choice:
    """Freezes for long, waits for little."""
    told = [] if done is None else done
    return Choice(WHO, freeze=600.0, patience=5.0, tell=lambda act, _: told.append(act), **values)


def places(clinic: Clinic) -> set[Place]:
    return set(Gates(clinic.environment, clinic.users.admin).places(["north"]).values())


def legacy_writes(clinic: Clinic, key: int, family: str) -> bool:
    """Whether the legacy application may rename a patient; it does where it may."""
    try:
        with clinic.environment.source.begin() as connection:
            connection.exec_driver_sql(f"UPDATE patient SET family = '{family}' WHERE id = {key}")
    except DBAPIError:
        return False
    return True


def family(clinic: Clinic, key: int) -> str:
    with clinic.environment.source.connect() as connection:
        return str(connection.scalar(sa.text(f"SELECT family FROM patient WHERE id = {key}")))


def in_medplum(clinic: Clinic, key: int) -> str:
    system = clinic.environment.migration.naming.system("patient")
    [found] = clinic.users.admin.search_all("Patient", [("identifier", f"{system}|{key}")])
    return str(found["name"][0]["family"])


def stage(clinic: Clinic) -> UnitStage:
    with clinic.environment.manifest.begin() as connection:
        return cutovers.stages_of(connection, "tiny")["north"].stage


def failing(monkeypatch: pytest.MonkeyPatch, act: Act, error: BaseException) -> None:
    def fail(_: Any) -> str:
        raise error

    monkeypatch.setitem(switching._ACTS, act, fail)  # type: ignore[arg-type]


def test_a_table_that_is_dropped_meanwhile_keeps_all_from_moving_by_its_name(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(clinic.environment, "pilot", choice())
    fenced = switching._ACTS[Act.FENCE]

    def dropped(switch: Any) -> str:
        with clinic.environment.source.begin() as connection:
            connection.exec_driver_sql("DROP TABLE staff")
        return fenced(switch)

    monkeypatch.setitem(switching._ACTS, Act.FENCE, dropped)  # type: ignore[arg-type]
    with pytest.raises(NotFlipped, match="no table staff"):
        cut_over(clinic.environment, "pilot", choice())
    assert places(clinic) == {Place.LEGACY} and legacy_writes(clinic, 1, "Adair")
    cycle(synced_wave(clinic.environment, "pilot"))
    assert in_medplum(clinic, 1) == "Adair", "all other entities go on"


def test_there_and_back_with_all_that_was_written(clinic: Clinic) -> None:
    done: list[Act] = []
    assert legacy_writes(clinic, 1, "Adair")
    assert prepare(clinic.environment, "pilot", choice()) == "north"
    assert clinic.rename(1, "Nobody") == 403
    assert cut_over(clinic.environment, "pilot", choice(done)) is Outcome.FLIPPED
    assert done == list(FORTH)
    assert (places(clinic), stage(clinic)) == ({Place.MEDPLUM}, UnitStage.MEDPLUM)
    assert in_medplum(clinic, 1) == "Adair"
    assert not legacy_writes(clinic, 1, "Lost")
    assert clinic.rename(1, "Baker") == clinic.rename(2, "Bell") == 200
    wave = synced_wave(clinic.environment, "pilot")
    assert back_cycle(wave).written == {"patient": 2}, "through the gate that is shut"
    assert family(clinic, 1) == "Baker"
    assert clinic.rename(2, "Burns") == 200
    cycle(wave)
    assert in_medplum(clinic, 2) == "Burns", "whatever the plan says, Medplum is written"
    done.clear()
    assert roll_back(clinic.environment, "pilot", choice(done)) is Outcome.RETURNED
    assert done == list(BACK)
    assert (places(clinic), stage(clinic)) == ({Place.LEGACY}, UnitStage.SHADOW)
    assert (family(clinic, 1), family(clinic, 2)) == ("Baker", "Burns")
    assert legacy_writes(clinic, 1, "Clark") and clinic.rename(1, "Nobody") == 403
    assert cut_over(clinic.environment, "pilot", choice()) is Outcome.FLIPPED, "no reload"
    assert in_medplum(clinic, 1) == "Clark"
    freezes = Facts(clinic.environment, "pilot").freezes
    assert len(freezes) == 2 and all(one.checked and one.seconds > 0 for one in freezes)
    scored = score(freezes)
    assert scored is not None and scored.number, "once a freeze was measured, each is forecast"
    with clinic.environment.manifest.begin() as connection:
        newest = cutovers.newest_attempt(connection, "tiny", "pilot")
        assert newest is not None and newest.state is AttemptState.DONE
        acts = cutovers.acts_of(connection, newest)
    assert [one.act for one in acts] == list(FORTH)
    assert all(one.ended_at and one.person == WHO and one.told and not one.failed for one in acts)


@pytest.mark.parametrize("act", [Act.CLOSE_LEGACY, Act.VERIFY, Act.SHUT_LEGACY])
def test_what_fails_before_the_flip_thaws(clinic: Clinic, monkeypatch: pytest.MonkeyPatch, act: Act) -> None:
    prepare(clinic.environment, "pilot", choice())
    failing(monkeypatch, act, VerificationFailed("It is not green.", "Mend it."))
    with pytest.raises(NotFlipped, match=r"nothing changed: It is not green\. What to do: Mend it\."):
        cut_over(clinic.environment, "pilot", choice())
    assert places(clinic) == {Place.LEGACY} and stage(clinic) is UnitStage.SHADOW
    assert legacy_writes(clinic, 1, "Adair")
    monkeypatch.undo()
    assert cut_over(clinic.environment, "pilot", choice()) is Outcome.FLIPPED
    assert in_medplum(clinic, 1) == "Adair"


@pytest.mark.parametrize("act", [Act.WAIT_OUT, Act.PROVE])
def test_what_fails_before_the_way_back_leaves_all_in_medplum(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch, act: Act
) -> None:
    cut_over(clinic.environment, "pilot", choice())
    failing(monkeypatch, act, KeyboardInterrupt())
    with pytest.raises(NotReturned, match="nothing changed: it was ended"):
        roll_back(clinic.environment, "pilot", choice())
    assert places(clinic) == {Place.MEDPLUM} and stage(clinic) is UnitStage.MEDPLUM
    assert clinic.rename(1, "Baker") == 200
    monkeypatch.undo()
    assert roll_back(clinic.environment, "pilot", choice()) is Outcome.RETURNED
    assert family(clinic, 1) == "Baker"


def test_a_rollback_that_died_behind_its_last_gate_publishes_the_routing(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users whose routing says Medplum are refused there."""
    cut_over(clinic.environment, "pilot", choice())
    failing(monkeypatch, Act.ROUTE, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        roll_back(clinic.environment, "pilot", choice())
    assert places(clinic) == {Place.LEGACY}
    monkeypatch.undo()
    done: list[Act] = []
    roll_back(clinic.environment, "pilot", choice(done))
    assert done == [Act.THAW, Act.ROUTE] and legacy_writes(clinic, 1, "Adair")


def test_a_write_that_cannot_come_back_keeps_the_unit_in_medplum(clinic: Clinic) -> None:
    """No legacy code stands for it: the way back holds it back, and to go back would lose it."""
    cut_over(clinic.environment, "pilot", choice())
    system = clinic.environment.migration.naming.system("patient")
    [ada] = clinic.user.search_all("Patient", [("identifier", f"{system}|1")])
    entry = {"resource": {**ada, "gender": "other"}, "request": {"method": "PUT", "url": f"Patient/{ada['id']}"}}
    assert clinic.user.batch([entry], 100)[0].status == 200
    with pytest.raises(NotReturned, match=f"not in the legacy database: Patient/{ada['id']}"):
        roll_back(clinic.environment, "pilot", choice())
    assert places(clinic) == {Place.MEDPLUM}


def test_a_freeze_that_is_over_flips_nothing(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the last moment: between the last look and the flip."""
    real: Callable[[Any], str] = switching._ACTS[Act.SHUT_LEGACY]
    left = switching.Switch._still_frozen

    def expired(self: Any) -> str:
        def still(one: Any) -> float:
            seconds = left(one)
            with clinic.environment.source.begin() as connection:
                connection.exec_driver_sql(f"UPDATE {GATE} SET closed_until = julianday('now') - 1 WHERE closing")
            return seconds

        monkeypatch.setattr(switching.Switch, "_still_frozen", still)
        return real(self)

    monkeypatch.setitem(switching._ACTS, Act.SHUT_LEGACY, expired)  # type: ignore[arg-type]
    with pytest.raises(NotFlipped, match="could not be made shut"):
        cut_over(clinic.environment, "pilot", choice())
    assert places(clinic) == {Place.LEGACY}
    assert legacy_writes(clinic, 1, "Adair")


def test_a_flip_that_cannot_end_goes_on_there(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, Act.OPEN_MEDPLUM, VerificationFailed("Medplum is away.", "Look."))
    with pytest.raises(Stuck, match="it goes on here"):
        cut_over(clinic.environment, "pilot", choice())
    assert places(clinic) == {Place.BETWEEN}
    assert not legacy_writes(clinic, 1, "Lost") and clinic.rename(1, "Lost") == 403
    monkeypatch.undo()
    done: list[Act] = []
    assert cut_over(clinic.environment, "pilot", choice(done)) is Outcome.FLIPPED
    assert done == [Act.OPEN_MEDPLUM, Act.ROUTE, Act.REVERSE_ON, *OBSERVE]


def test_a_flip_that_cannot_end_can_be_gone_back_from(clinic: Clinic, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, Act.OPEN_MEDPLUM, VerificationFailed("Medplum is away.", "Look."))
    with pytest.raises(Stuck):
        cut_over(clinic.environment, "pilot", choice())
    monkeypatch.undo()
    assert roll_back(clinic.environment, "pilot", choice()) is Outcome.RETURNED
    assert places(clinic) == {Place.LEGACY}
    with clinic.environment.manifest.begin() as connection:
        assert cutovers.running_attempts(connection, "tiny") == []


def test_to_reopen_opens_what_a_cutover_that_died_between_two_gates_had_not_shut_yet(clinic: Clinic) -> None:
    """Beside a unit that is shut, one that is frozen: nobody waits until its time is over."""
    for stage in (Stage.FREEZE, Stage.FENCE):
        perform_stage(clinic.environment, "pilot", Direction.FORTH, stage, choice())
    assert places(clinic) == {Place.FROZEN}
    with switching_units(clinic.environment, "pilot", Direction.FORTH, choice(), moves=False) as switch:
        switch.perform(Act.REOPEN_LEGACY)
    assert places(clinic) == {Place.LEGACY} and legacy_writes(clinic, 1, "Adair")


def test_a_rollback_before_the_flip_thaws(clinic: Clinic) -> None:
    prepare(clinic.environment, "pilot", choice())
    clinic.gate.close(clinic.environment.capture, "north", 0, 600, 5)
    assert places(clinic) == {Place.FROZEN}
    assert roll_back(clinic.environment, "pilot", choice()) is Outcome.NOT_FLIPPED
    assert places(clinic) == {Place.LEGACY}


def test_a_dry_run_tells_every_act_and_does_none(clinic: Clinic) -> None:
    before = (clinic.entries, places(clinic))
    lines: list[tuple[Act, str]] = []
    tells = Choice(WHO, tell=lambda act, text: lines.append((act, text)))
    told(clinic.environment, "pilot", Direction.FORTH, tells)
    assert list(dict.fromkeys(act for act, _ in lines)) == list(FORTH)
    assert f"north: AccessPolicy/{clinic.policy}: take writing out of 1 of 2 entries" in lines[0][1]
    assert (clinic.entries, places(clinic)) == before == (clinic.entries, {Place.BOTH})
    with clinic.environment.manifest.begin() as connection:
        assert cutovers.running_attempts(connection, "tiny") == [] and cutovers.stages_of(connection, "tiny") == {}
    cut_over(clinic.environment, "pilot", choice())
    lines.clear()
    told(clinic.environment, "pilot", Direction.BACK, tells)
    assert list(dict.fromkeys(act for act, _ in lines)) == list(BACK)
    assert places(clinic) == {Place.MEDPLUM}


def test_the_status_says_what_both_gates_say_and_what_is_unsafe(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [pilot, _] = cutover_status(clinic.environment)
    assert [(one.unit, one.place, one.fault) for one in pilot.units] == [
        ("north", Place.BOTH, "it can be written in both systems")
    ]
    cut_over(clinic.environment, "pilot", choice())
    [pilot, _] = cutover_status(clinic.environment)
    assert [(one.place, one.epoch, one.stage, one.fault) for one in pilot.units] == [(Place.MEDPLUM, 1, "medplum", "")]
    assert (pilot.unsafe, pilot.running) == ([], "")
    monkeypatch.setattr("medferry.workflows.cutover_status.LATE_SECONDS", -1.0)
    [pilot, _] = cutover_status(clinic.environment)
    assert [reason.split(" were")[0] for reason in pilot.unsafe] == ["changes of Patient"]
    clinic.users.put({**clinic.users.read("AccessPolicy", clinic.policy), "resource": [{"resourceType": "Task"}]})
    [pilot, _] = cutover_status(clinic.environment)
    assert pilot.units[0].place is None and "no entry" in pilot.units[0].fault
    _show(pilot)
    assert "Rollback unsafe" in capsys.readouterr().out


def test_two_at_once(clinic: Clinic) -> None:
    with only_mover(clinic.environment), pytest.raises(CutoverBusy):
        cut_over(clinic.environment, "pilot", choice())
    cut_over(clinic.environment, "pilot", choice())
    with pytest.raises(Otherwise):
        prepare(clinic.environment, "pilot", choice())
    with clinic.environment.source.connect() as connection:
        assert clinic.gate.read(connection, "north").state is GateState.SHUT


def test_an_edit_that_was_at_work_when_medplum_was_closed_comes_back(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing does not stop it: it is stored while the way back waits."""
    cut_over(clinic.environment, "pilot", choice())
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            system = clinic.environment.migration.naming.system("patient")
            [ada] = clinic.users.admin.search_all("Patient", [("identifier", f"{system}|1")])
            clinic.users.put({**ada, "name": [{"family": "Late"}]})

    ticks = iter(range(10_000))
    clock = Time(monotonic=lambda: next(ticks) * 0.02, sleep=sleep)
    assert roll_back(clinic.environment, "pilot", choice(clock=clock)) is Outcome.RETURNED
    assert family(clinic, 1) == "Late"


def _being_sent(clinic: Clinic) -> int:
    """A batch of somebody who keeps another wave in step."""
    entry = SentEntry("https://other.example", "9", Action.CREATE, "Patient", "hash")
    with clinic.environment.manifest.begin() as connection:
        return sent_batches.note_act(connection, "tiny", "another", "patient", entry, Sending(600.0))


def test_what_others_are_sending_is_waited_for(clinic: Clinic) -> None:
    """At each of the two verifications; only what gets no answer keeps the units where they are."""
    _being_sent(clinic)
    ended: list[int] = []

    def answered(_: float) -> None:
        with clinic.environment.manifest.begin() as connection:
            left = [one.id for one in sent_batches.open_batches(connection, "tiny")]
            sent_batches.end(connection, left)
        ended.extend(left)

    def again(act: Act, _: str) -> None:
        if act is Act.FINAL_CUT:
            _being_sent(clinic)

    ticks = iter(range(10_000))
    lost = choice(clock=Time(monotonic=lambda: next(ticks), sleep=lambda _: None))
    with pytest.raises(VerificationFailed, match="batches: at an end"):
        cut_over(clinic.environment, "pilot", lost)
    assert legacy_writes(clinic, 1, "Adair")
    moves = replace(choice(clock=Time(sleep=answered)), tell=again)
    assert cut_over(clinic.environment, "pilot", moves) is Outcome.FLIPPED
    assert len(ended) == 2
