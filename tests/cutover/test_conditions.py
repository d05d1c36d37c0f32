"""The command asks every condition before a freeze begins, and nothing within one."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from medferry.cli import cutover as command
from medferry.cli.main import app
from medferry.cutover import switch as switching
from medferry.cutover.acts import Act, Place
from medferry.cutover.gates import Gates
from medferry.cutover.machine import Outcome
from medferry.governance.readiness import GateName, ReadinessGate
from medferry.manifest import cutovers
from medferry.manifest.consents import Consent
from medferry.manifest.decisions import decisions_of
from medferry.workflows import cutover_conditions
from medferry.workflows.cutover import Choice, cut_over, roll_back
from medferry.workflows.cutover import switching as attempting
from medferry.workflows.cutover_conditions import NotReady, check_ready
from tests.cutover.conftest import Clinic


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[ReadinessGate]:
    """What `readiness` says: two do not hold. tests/workflows/test_readiness.py has the gates themselves."""
    found = [
        ReadinessGate(GateName.SWEEP, False, "3 misses", "Sweep it."),
        ReadinessGate(GateName.LAG, True, "in step"),
        ReadinessGate(GateName.ORDER, False, "wave rest comes before", "Flip it."),
    ]
    monkeypatch.setattr(cutover_conditions, "readiness", lambda *_: found)
    monkeypatch.setattr(command, "readiness", lambda *_: found)
    return found


def choice(clinic: Clinic) -> Choice:
    return Choice("Ada", freeze=600.0, patience=5.0, ready=lambda: check_ready(clinic.environment, "pilot"))


def places(clinic: Clinic) -> set[Place]:
    return set(Gates(clinic.environment, clinic.users.admin).places(["north"]).values())


def attempts(clinic: Clinic) -> list[cutovers.Attempt]:
    with clinic.environment.manifest.begin() as connection:
        return cutovers.running_attempts(connection, "tiny")


def test_open_conditions_refuse_before_anything_is_closed(clinic: Clinic, asked: list[ReadinessGate]) -> None:
    with pytest.raises(NotReady, match=r"Of 3 conditions 2 do not hold: sweep: 3 misses; order: wave rest"):
        cut_over(clinic.environment, "pilot", choice(clinic))
    assert places(clinic) == {Place.BOTH} and attempts(clinic) == []
    clinic.medplum().close("north", 1)
    clinic.gate.close(clinic.environment.capture, "north", 0, 600, 5)
    assert places(clinic) == {Place.FROZEN}
    with pytest.raises(NotReady):  # a gate that somebody has closed by hand is no freeze that was asked for
        cut_over(clinic.environment, "pilot", choice(clinic))


def test_nothing_is_asked_within_a_freeze_nor_to_complete_a_flip_and_again_when_it_is_over(
    clinic: Clinic, asked: list[ReadinessGate], monkeypatch: pytest.MonkeyPatch
) -> None:
    with attempting(clinic.environment, "pilot", cutovers.Direction.FORTH, Choice("Ada", freeze=600.0)) as switch:
        switch.perform(Act.CLOSE_MEDPLUM)
    with pytest.raises(NotReady):  # nothing was frozen when it died
        cut_over(clinic.environment, "pilot", choice(clinic))
    with attempting(clinic.environment, "pilot", cutovers.Direction.FORTH, Choice("Ada", freeze=600.0)) as switch:
        switch.perform(Act.CLOSE_MEDPLUM)
        switch.perform(Act.CLOSE_LEGACY)
    assert places(clinic) == {Place.FROZEN}
    _dies(monkeypatch)
    with pytest.raises(_Killed):
        cut_over(clinic.environment, "pilot", choice(clinic))
    monkeypatch.undo()
    monkeypatch.setattr(cutover_conditions, "readiness", lambda *_: asked)
    assert places(clinic) == {Place.BETWEEN}
    assert cut_over(clinic.environment, "pilot", choice(clinic)) is Outcome.FLIPPED
    assert roll_back(clinic.environment, "pilot", choice(clinic)) is Outcome.RETURNED, "the way back asks nothing"
    with pytest.raises(NotReady):
        cut_over(clinic.environment, "pilot", choice(clinic))


class _Killed(BaseException):
    """The process ends."""


def _dies(monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is to open Medplum."""

    def die(_: Any) -> str:
        raise _Killed

    monkeypatch.setitem(switching._ACTS, Act.OPEN_MEDPLUM, die)


def test_the_command_asks_and_records_what_a_person_accepts(
    clinic: Clinic, asked: list[ReadinessGate], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "environment_of", lambda _: clinic.environment)

    def medferry(*given: str) -> str:
        found = CliRunner().invoke(app, ["cutover", "pilot", *given], env={"COLUMNS": "300"})
        assert found.exit_code == (0 if "--dry-run" in given else 1)
        return found.output

    told = medferry("--dry-run")
    assert "Would be refused: sweep: 3 misses" in told and "close-medplum" in told
    assert "Of 3 conditions 2 do not hold" in medferry("--by", "Ada")
    assert "needs a reason" in medferry("--by", "Ada", "--accept", "order")
    assert "must answer" in medferry("--accept", "order=The staff of this wave is trained.")
    assert "Nobody can accept the gate sweep" in medferry("--by", "Ada", "--accept", "sweep=It is good enough.")
    assert "Give a name, and a reason" in medferry("--by", "Ada", "--accept", "order=why not")
    asked[0] = ReadinessGate(GateName.SWEEP, True, "0 misses")
    assert "Of 3 conditions 1 do not hold" in medferry("--by", "Ada", "--accept", "order=Its staff is trained.")
    with clinic.environment.manifest.begin() as connection:
        [decision] = decisions_of(connection, "readiness/tiny/pilot/order")
    assert decision.decision.verdict == Consent.ACCEPTED and decision.decision.person == "Ada"
    assert places(clinic) == {Place.BOTH}
