"""An approval holds for what was shown, and not for long; what does not hold any more is not armed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from medferry.governance.readiness import ReadinessGate
from medferry.manifest.cutovers import Direction
from medferry.manifest.database import create_manifest
from medferry.manifest.decisions import RecordedDecision, decisions_of, digest_of
from medferry.runtime.environment import Environment
from medferry.workflows import cutover_conditions
from medferry.workflows.cutover_approval import ApprovalTooOld, arm, evidence
from medferry.workflows.cutover_conditions import NotReady

SHOWN = "| condition | evidence |\n|---|---|\n| schema | as it was \\| approved |\n| sweep | 0 misses |"


@pytest.fixture
def gates(tiny: Environment, monkeypatch: pytest.MonkeyPatch) -> list[ReadinessGate]:
    """All that `readiness` says; tests/workflows/test_readiness.py has the gates themselves."""
    create_manifest(tiny.settings.manifest_url)
    found = [ReadinessGate("schema", True, "as it was |\n approved"), ReadinessGate("sweep", True, "0 misses")]
    monkeypatch.setattr(cutover_conditions, "readiness", lambda *_: found)
    return found


def armed(tiny: Environment, ago: timedelta, minutes: int = 60, direction: Direction = Direction.FORTH) -> str:
    return arm(tiny, "pilot", direction, SHOWN, "Ada", datetime.now(UTC) - ago, minutes).person


def decisions(tiny: Environment, subject: str) -> list[RecordedDecision]:
    with tiny.manifest.begin() as connection:
        return decisions_of(connection, subject)


def test_who_approved_what_he_was_shown_is_recorded(tiny: Environment, gates: list[ReadinessGate]) -> None:
    assert evidence(tiny, "pilot", Direction.FORTH) == SHOWN
    assert armed(tiny, timedelta(minutes=59)) == "Ada"
    [decision] = decisions(tiny, "cutover/tiny/pilot")
    assert (decision.digest, decision.decision.person) == (digest_of(SHOWN), "Ada")
    assert "for 60 min" in decision.decision.note
    armed(tiny, timedelta(), direction=Direction.BACK)
    assert len(decisions(tiny, "rollback/tiny/pilot")) == 1


@pytest.mark.parametrize("direction", [Direction.FORTH, Direction.BACK])
def test_an_old_answer_is_none(tiny: Environment, gates: list[ReadinessGate], direction: Direction) -> None:
    with pytest.raises(ApprovalTooOld, match="Ada approved a freeze that begins by"):
        armed(tiny, timedelta(minutes=61), direction=direction)
    assert decisions(tiny, "cutover/tiny/pilot") == decisions(tiny, "rollback/tiny/pilot") == []


def test_what_does_not_hold_is_neither_asked_nor_armed(tiny: Environment, gates: list[ReadinessGate]) -> None:
    gates[1] = ReadinessGate("sweep", False, "3 misses", "Sweep it.")
    with pytest.raises(NotReady, match=r"Of 2 conditions 1 do not hold: sweep: 3 misses\."):
        evidence(tiny, "pilot", Direction.FORTH)
    with pytest.raises(NotReady):
        armed(tiny, timedelta())
    assert decisions(tiny, "cutover/tiny/pilot") == []
