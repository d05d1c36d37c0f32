"""Each gate is green by its facts, red by each planted fault, and red where there is nothing to judge by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from medferry.governance import readiness as gates
from medferry.governance import steadiness
from medferry.governance.forecast import Work, freeze
from medferry.governance.readiness import GateName, Proof, ReadinessGate, Rehearsed
from medferry.governance.side_effects import SideEffectLine
from medferry.governance.steadiness import InStep
from medferry.manifest.consents import Consent
from medferry.manifest.decisions import Decision, RecordedDecision
from medferry.manifest.sweeps import SweepRow
from medferry.plan.sections import ReadinessLimits, ToolChange, Training
from medferry.source.changes.observe import Writer
from medferry.source.gate.gate import GateState
from tests.governance.test_strategy import plan_of

LIMITS = ReadinessLimits()
SAID = RecordedDecision("", "", "2027-01-01T00:00:00.000Z", Decision(Consent.ACCEPTED, "Ada", "We looked at each."), 1)
PROOF = Proof(7, True, "proven", 1.0, True, 1.0, 10, 0)
SWEPT = {name: SweepRow(1, name, 100, 0, True, "", "") for name in ("patient", "weight")}
AGES = {"patient": 1.0, "weight": 2.0}
STEP = InStep("", 3.0, {"patient": 4.0}, 0.0)
DESK = Writer("desk", "scheduler", "patient", 9)
ACCEPTED = plan_of(2, legacy_writers=[{"who": "desk", "application": "sched*", "what": "Desk", "accepted_by": "Ada"}])
DONE = Training(who="Desk", what="Charts", by=date(2027, 1, 8), done=date(2027, 1, 7))
LATER = DONE.model_copy(update={"done": date(2027, 1, 10)})
OTHERS = DONE.model_copy(update={"waves": ["east"]})
FAX = ToolChange(tool="Fax", becomes="Nothing at all", done=date(2027, 1, 7))
OPENS, CLOSES = datetime(2027, 1, 9, 1, tzinfo=UTC), datetime(2027, 1, 9, 3, tzinfo=UTC)
GREEN: list[ReadinessGate] = [
    *gates.questions([]),
    gates.order([], [], None),
    gates.order(["first"], ["first"], None),
    gates.order(["first"], [], SAID),
    gates.window((OPENS, CLOSES), OPENS),
    gates.ticked(GateName.TRAINING, "pilot", [DONE, OTHERS.model_copy(update={"done": None})], date(2027, 1, 9)),
    gates.ticked(GateName.TOOLS, "pilot", [FAX], date(2027, 1, 9)),
    gates.verified(PROOF, LIMITS),
    gates.exceptions(PROOF),
    gates.dead_letters({}, 10, None),
    gates.dead_letters({"patient: orphan": 3}, 10, SAID),
    gates.conflicts(0, True),
    gates.held_back({}, None, True),
    gates.held_back({"born-in-medplum": 1}, SAID, True),
    gates.schema("d" * 64, [], SAID, True),
    gates.rehearsal(Rehearsed(1.0, 40.0, True), LIMITS, 60.0),
    gates.side_effects([]),
    gates.side_effects([SideEffectLine("Subscription/1", "Patient", "", True, "fires, by Ada")]),
    steadiness.sweep(SWEPT, ["patient", "weight"], AGES, LIMITS),
    steadiness.lag(STEP, LIMITS),
    steadiness.writers([DESK], ACCEPTED),
    steadiness.transactions([], LIMITS),
    steadiness.transactions([3.0], LIMITS),
    steadiness.legacy_gates({"north": GateState.OPEN}),
    steadiness.freeze_forecast(freeze([3.0], Work(0, []), Work(0, [])), 5.0),
]


@pytest.mark.parametrize("gate", GREEN, ids=lambda gate: gate.name)
def test_green(gate: ReadinessGate) -> None:
    assert gate.ok and gate.evidence and not gate.remedy


def _swept(**changes: object) -> ReadinessGate:
    rows = SWEPT | {"weight": replace(SWEPT["weight"], **changes)}  # type: ignore[arg-type]
    return steadiness.sweep(rows, ["patient", "weight"], AGES, LIMITS)


def _none(rows: Sequence[str]) -> ReadinessGate:
    return steadiness.sweep({n: replace(SWEPT[n], rows=0) for n in rows}, ["patient", "weight"], AGES, LIMITS)


RED: dict[str, tuple[ReadinessGate, str]] = {
    "an earlier wave is not flipped": (gates.order(["first", "second"], ["first"], None), "wave second comes before"),
    "before the window": (gates.window((OPENS, CLOSES), datetime(2027, 1, 9, 0, 59, tzinfo=UTC)), "opens at"),
    "at its end": (gates.window((OPENS, CLOSES), CLOSES), "closed at 2027-01-09 03:00 UTC"),
    "no window": (gates.window(None, OPENS), "could not be said"),
    "ticked for tomorrow": (gates.ticked(GateName.TRAINING, "pilot", [DONE, LATER], date(2027, 1, 9)), "Desk, Charts"),
    "a tool that is not done": (
        gates.ticked(GateName.TOOLS, "pilot", [ToolChange(tool="Fax", becomes="Nothing at all")], date(2027, 1, 9)),
        "Fax: not done",
    ),
    "nothing to tick": (gates.ticked(GateName.TRAINING, "pilot", [OTHERS], date(2027, 1, 9)), "could not be said"),
    "never verified": (gates.verified(None, LIMITS), "could not be said"),
    "not proven": (gates.verified(replace(PROOF, proven=False, text="not proven"), LIMITS), "not proven"),
    "by other files": (gates.verified(replace(PROOF, same_files=False), LIMITS), "files are others"),
    "by a sample": (gates.verified(replace(PROOF, sample_share=0.5), LIMITS), "only 50.0%"),
    "verified long ago": (gates.verified(replace(PROOF, age_days=7.1), LIMITS), "7.1 days old"),
    "much changed since": (gates.verified(replace(PROOF, changed_since=1_001), LIMITS), "1,001 records changed"),
    "an exception is open": (gates.exceptions(replace(PROOF, open_exceptions=1)), "1 open"),
    "no exceptions because nobody looked": (gates.exceptions(None), "could not be said"),
    "dead letters": (gates.dead_letters({"patient: orphan": 3}, 10, None), "patient: orphan 3"),
    "nothing loaded": (gates.dead_letters({}, 0, None), "could not be said"),
    "a conflict": (gates.conflicts(2, True), "2 open"),
    "held back": (gates.held_back({"in-doubt": 1}, None, True), "in-doubt 1"),
    "no conflict because nobody looked": (gates.conflicts(0, False), "could not be said"),
    "nothing held back because nobody looked": (gates.held_back({}, None, False), "could not be said"),
    "a mapping in draft": (gates.schema("d", ["weight"], SAID, True), "weight is mapped in draft"),
    "approved by nobody": (gates.schema("d", [], None, False), "nobody has approved"),
    "approved for another schema": (gates.schema("d", [], None, True), "changed since they were approved"),
    "never rehearsed": (gates.rehearsal(None, LIMITS, 60.0), "could not be said"),
    "no tolerance": (gates.rehearsal(Rehearsed(1.0, 40.0, True), LIMITS, None), "could not be said"),
    "rehearsed long ago": (gates.rehearsal(Rehearsed(15.0, 40.0, True), LIMITS, 60.0), "15.0 days old"),
    "rehearsed too slowly": (gates.rehearsal(Rehearsed(1.0, 61.0, True), LIMITS, 60.0), "took 61.0 s"),
    "rehearsed by other files": (gates.rehearsal(Rehearsed(1.0, 40.0, False), LIMITS, 60.0), "files are others"),
    "a Subscription that nobody decided about": (
        gates.side_effects([SideEffectLine("Subscription/1", "Patient", "", False, "fires")]),
        "Subscription/1 fires",
    ),
    "a miss": (_swept(missed=1), "weight: 1 missed of 100"),
    "a sweep that was stopped": (_swept(complete=False), "weight: no complete sweep"),
    "an entity never swept": (_none(["patient"]), "weight: no complete sweep"),
    "sweeps of nothing": (_none(["patient", "weight"]), "no row"),
    "swept long ago": (steadiness.sweep(SWEPT, ["patient"], {"patient": 3.5}, LIMITS), "3.5 days ago"),
    "no cut can be made": (steadiness.lag(replace(STEP, fault="A trigger is off."), LIMITS), "A trigger is off."),
    "nobody takes cuts": (steadiness.lag(replace(STEP, heartbeat=61.0), LIMITS), "no cut for 61 s"),
    "never a cut": (steadiness.lag(replace(STEP, heartbeat=None), LIMITS), "no cut was ever marked"),
    "nothing measured": (steadiness.lag(replace(STEP, p99={}), LIMITS), "nothing is measured"),
    "a large lag": (steadiness.lag(replace(STEP, p99={"patient": 60.1}), LIMITS), "patient: p99 60.1 s"),
    "a change that waits": (steadiness.lag(replace(STEP, oldest_pending=61.0), LIMITS), "waits for 61 s"),
    "a stranger": (steadiness.writers([DESK, replace(DESK, application="psql")], ACCEPTED), "desk by psql"),
    "nobody seen": (steadiness.writers([], ACCEPTED), "could not be said"),
    "an old transaction": (steadiness.transactions([61.0, 3.0], LIMITS), "open for 61 s"),
    "hidden transactions": (steadiness.transactions(None, LIMITS), "could not be said"),
    "a unit that is flipped": (steadiness.legacy_gates({"a": GateState.OPEN, "b": GateState.SHUT}), "b is shut"),
    "a long freeze": (steadiness.freeze_forecast(freeze([3.1], Work(0, []), Work(0, [])), 5.0), "more than 5 s"),
    "a freeze of no tolerance": (
        steadiness.freeze_forecast(freeze([], Work(0, []), Work(0, [])), None),
        "no tolerance",
    ),
    "a freeze of unknown speed": (
        steadiness.freeze_forecast(freeze([], Work(1, []), Work(1, [])), 5.0),
        "nothing was measured of: catch up, check",
    ),
    "no unit": (steadiness.legacy_gates({}), "could not be said"),
}


@pytest.mark.parametrize("name", RED)
def test_red(name: str) -> None:
    gate, evidence = RED[name]
    assert not gate.ok
    assert evidence in gate.evidence and gate.remedy


def test_every_gate_has_both() -> None:
    elsewhere = {
        GateName.STRATEGY,
        GateName.SAFETY,
    }  # tests/governance/test_strategy.py, tests/workflows/test_readiness.py
    assert {gate.name for gate, _ in RED.values()} == {*GateName} - elsewhere
    assert {gate.name for gate in GREEN if gate.name in {*GateName}} == {*GateName} - elsewhere
