"""A migration wave by wave on a real scheduler, users at work in both systems all the time: nothing is lost.

What takes minutes (three waves, what operators do in the wrong moment, everything at once) is a part of `make faults`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.standard.operators.hitl import ApprovalOperator

from demo_clinics.database import BinariesMissing, embedded
from medferry.cutover.acts import Place
from medferry.plan.sections import EVERYTHING
from medferry.source.changes.journal import CHANGE
from medferry.source.gate.gate import GATE
from medferry.store.evidence import verify_evidence
from medferry_airflow.local import LocalAirflow, on_postgresql
from medferry_airflow.rest import AirflowApi, ApiError
from tests.airflow.phased import (
    WAVES,
    Phased,
    begin_work,
    bring_in_step,
    make_ready,
    platform,
    prove,
    rest,
    set_waves,
    stage_of_rehearsals,
)

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(3_000)]

IN_FAULTS = os.environ.get("MEDFERRY_GAME_DAY_ROUNDS", "0") != "0"
part_of_faults = pytest.mark.skipif(not IN_FAULTS, reason="a part of `make faults`")
DESK, DEPUTY = "desk", "deputy"
"""Somebody with an account in Airflow whom the plan lets approve nothing; the second of the two for a cutover."""
APPROVAL, SECOND = "approval.approve", "approval.approve_second"
RETIREMENT = "retire_"
PATIENCE = 900.0
"""Seconds: a machine may be busy with other things, and nothing here is about time."""


@pytest.fixture(scope="module")
def made() -> Iterator[Phased]:
    """Three waves ready to go, nobody at work yet."""
    memory = Path("/dev/shm")
    with ExitStack() as stack:
        temporary = tempfile.TemporaryDirectory(prefix="medferry-phased-", dir=memory if memory.is_dir() else None)
        folder = Path(stack.enter_context(temporary))
        try:
            yield stack.enter_context(platform(folder))
        except BinariesMissing as missing:
            pytest.skip(str(missing))


@pytest.fixture(scope="module")
def airflow(made: Phased) -> Iterator[LocalAirflow]:
    """With the users of all clinics at work, and the waves kept in step beside."""
    users = {"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"admin:admin,{DESK}:admin,{DEPUTY}:admin"}
    with ExitStack() as stack:
        bring_in_step(made, stack)
        make_ready(made)
        metadata = stack.enter_context(embedded(made.folder / "airflow-db")).url
        variables = made.variables() | users | on_postgresql(metadata)
        if IN_FAULTS:
            variables |= stage_of_rehearsals(made, stack)
        with LocalAirflow(made.folder / "airflow", variables) as running:
            begin_work(made)
            stack.callback(made.work.close)
            yield running


def api(airflow: LocalAirflow) -> AirflowApi:
    assert airflow.api is not None
    return airflow.api


@contextmanager
def api_of(airflow: LocalAirflow, user: str) -> Iterator[AirflowApi]:
    """The API as somebody else sees it."""
    passwords = json.loads((airflow.home / "passwords.json").read_text(encoding="utf-8"))
    with closing(AirflowApi(airflow.url, user, passwords[user])) as theirs:
        yield theirs


def approval_of(dag_id: str) -> str:
    """The id of the task that asks first."""
    return "approve" if dag_id.startswith(RETIREMENT) else APPROVAL


def details(dag_id: str, run_id: str, task_id: str = APPROVAL) -> str:
    return f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/-1/hitlDetails"


def states(airflow: LocalAirflow, dag_id: str, run_id: str) -> dict[str, str | None]:
    return {task_id: state for (task_id, _), state in airflow.task_states(dag_id, run_id).items()}


def asked(airflow: LocalAirflow, dag_id: str, run_id: str, task_id: str = APPROVAL) -> None:
    """Until somebody is asked."""

    def is_asked() -> bool:
        found = states(airflow, dag_id, run_id)
        assert "failed" not in found.values(), told(airflow, dag_id)
        return found[task_id] == "awaiting_input"

    api(airflow).until(is_asked, PATIENCE, "nobody was asked")


def answer(
    airflow: LocalAirflow, dag_id: str, run_id: str, option: str, task_id: str = APPROVAL, by: AirflowApi | None = None
) -> None:
    """As a person does it who reads what he is asked; an answer that Airflow loses is given again."""
    person = by or api(airflow)
    while True:
        asked(airflow, dag_id, run_id, task_id)
        time.sleep(2)  # sooner, and Airflow asks anew: docs/runbooks/cutover.md
        minutes = {} if dag_id.startswith(RETIREMENT) else {"minutes": 30}
        said = {"chosen_options": [option], "params_input": minutes}
        person.request("PATCH", details(dag_id, run_id, task_id), said)
        with pytest.raises(ApiError, match=r"HTTP 40[49]"):  # 404 where Airflow has lost the first one already
            person.request("PATCH", details(dag_id, run_id, task_id), said)
        api(airflow).until(lambda: _is_over(airflow, dag_id, run_id, task_id), PATIENCE, "the answer was not heard")
        if states(airflow, dag_id, run_id)[task_id] in ("success", "failed"):
            return


def _is_over(airflow: LocalAirflow, dag_id: str, run_id: str, task_id: str) -> bool:
    """Answered for good, or asked anew."""
    state = states(airflow, dag_id, run_id)[task_id]
    if state != "awaiting_input":  # there may be no form between two tries
        return state in ("success", "failed")
    return not api(airflow).request("GET", details(dag_id, run_id, task_id))["response_received"]


def approve(airflow: LocalAirflow, dag_id: str, run_id: str) -> None:
    """By as many as the plan asks for."""
    answer(airflow, dag_id, run_id, ApprovalOperator.APPROVE, approval_of(dag_id))
    if SECOND in states(airflow, dag_id, run_id):
        with api_of(airflow, DEPUTY) as deputy:
            answer(airflow, dag_id, run_id, ApprovalOperator.APPROVE, SECOND, deputy)


def moved(airflow: LocalAirflow, dag_id: str) -> None:
    """Trigger it, approve it, wait for its end. All of it is green."""
    run_id = airflow.trigger(dag_id)
    approve(airflow, dag_id, run_id)
    assert airflow.wait(dag_id, run_id, PATIENCE) == "success", told(airflow, dag_id)
    assert {*states(airflow, dag_id, run_id).values()} == {"success"}, told(airflow, dag_id)


def lines_of(airflow: LocalAirflow, dag_id: str, task_id: str = "*") -> list[dict[str, Any]]:
    """The log of its tasks, of all its runs."""
    logs = sorted((airflow.logs / f"dag_id={dag_id}").glob(f"*/task_id={task_id}/**/*.log"))
    return [json.loads(line) for path in logs for line in path.read_text(encoding="utf-8").splitlines()]


def told(airflow: LocalAirflow, dag_id: str) -> list[str]:
    """What its tasks have failed with."""
    lines = lines_of(airflow, dag_id)
    return [f"{line['task_id']}: {one['exc_value']}" for line in lines for one in line.get("error_detail", ())]


def logged(airflow: LocalAirflow, dag_id: str, task_id: str) -> list[str]:
    """What a task has logged."""
    return [str(line.get("event")) for line in lines_of(airflow, dag_id, task_id)]


def written(made: Phased, unit: str, system: str, more: int = 5) -> None:
    """Until the unit's users have written some more, there."""

    def count() -> int:
        return sum((write.unit, write.system) == (unit, system) for write in made.diary.acknowledged)

    wanted, deadline = count() + more, time.monotonic() + PATIENCE
    while count() < wanted:
        assert time.monotonic() < deadline and not made.diary.faults, f"nobody writes {unit} in {system}"
        time.sleep(0.1)


def test_what_is_rejected_or_not_in_its_turn_closes_nothing(airflow: LocalAirflow, made: Phased) -> None:
    before = made.places()
    assert set(before.values()) == {Place.LEGACY}
    early = airflow.trigger("cutover_rest")
    run_id = airflow.trigger("cutover_pilot")
    asked(airflow, "cutover_pilot", run_id)
    form = api(airflow).request("GET", details("cutover_pilot", run_id))
    assert "| order | no wave comes before |" in form["body"] and form["assigned_users"][0]["id"] == "admin"
    with api_of(airflow, DESK) as desk, pytest.raises(ApiError, match="HTTP 403"):
        said = {"chosen_options": [ApprovalOperator.APPROVE], "params_input": {"minutes": 30}}
        desk.request("PATCH", details("cutover_pilot", run_id), said)
    answer(airflow, "cutover_pilot", run_id, ApprovalOperator.REJECT)
    for dag_id, of, failed in (("cutover_pilot", run_id, APPROVAL), ("cutover_rest", early, "readiness.look")):
        assert airflow.wait(dag_id, of, PATIENCE) == "failed"
        found = states(airflow, dag_id, of)
        assert found[failed] == "failed" and found["freeze.freeze"] == "upstream_failed"
    assert made.places() == before and not made.diary.refusals


def test_a_wave_moves_when_two_have_said_so_and_back_and_nothing_is_lost(airflow: LocalAirflow, made: Phased) -> None:
    """The first one's word has no effect, however often he says it."""
    written(made, "north", "legacy")
    before = made.places()
    run_id = airflow.trigger("cutover_pilot")
    answer(airflow, "cutover_pilot", run_id, ApprovalOperator.APPROVE)
    asked(airflow, "cutover_pilot", run_id, SECOND)
    waits = "Ada is the first: nothing was done. Awaited: Ben."
    form = api(airflow).request("GET", details("cutover_pilot", run_id, SECOND))
    assert waits in form["body"] and "| order | no wave comes before |" in form["body"]
    assert any(waits in line for line in logged(airflow, "cutover_pilot", "approval.arm"))
    answer(airflow, "cutover_pilot", run_id, ApprovalOperator.APPROVE, SECOND)
    assert airflow.wait("cutover_pilot", run_id, PATIENCE) == "failed"
    found = states(airflow, "cutover_pilot", run_id)
    assert (found["approval.arm_second"], found["freeze.freeze"]) == ("failed", "upstream_failed")
    assert any("Ada has said it already" in one and "Ask Ben" in one for one in told(airflow, "cutover_pilot"))
    assert made.places() == before and made.approvals() == []
    anew = {"dry_run": False, "dag_run_id": run_id, "task_ids": [SECOND], "include_downstream": True}
    api(airflow).request("POST", "dags/cutover_pilot/clearTaskInstances", {**anew, "only_failed": False})
    with api_of(airflow, DEPUTY) as deputy:
        answer(airflow, "cutover_pilot", run_id, ApprovalOperator.APPROVE, SECOND, deputy)
    assert airflow.wait("cutover_pilot", run_id, PATIENCE) == "success", told(airflow, "cutover_pilot")
    assert {*states(airflow, "cutover_pilot", run_id).values()} == {"success"}
    assert made.places() == dict.fromkeys(("south", "west", "shared"), Place.LEGACY) | {"north": Place.MEDPLUM}
    written(made, "north", "medplum")
    written(made, "south", "legacy")
    moved(airflow, "rollback_pilot")
    assert set(made.places().values()) == {Place.LEGACY}
    written(made, "north", "legacy")
    assert made.diary.turns("north", "legacy") == 2
    assert made.approvals() == ["cutover/tiny/pilot: Ada and Ben", "rollback/tiny/pilot: admin"]


@part_of_faults
def test_a_rehearsal_is_measured_while_users_work(airflow: LocalAirflow, made: Phased) -> None:
    """Against another Medplum. Its tasks tell what each act took, and nothing has moved."""
    before = made.rehearsal("pilot")
    run_id = airflow.trigger("rehearse_pilot")
    assert airflow.wait("rehearse_pilot", run_id, PATIENCE) == "success", told(airflow, "rehearse_pilot")
    found = made.rehearsal("pilot")
    assert found and found != before and found.measured.checked[0] > 0
    path = f"dags/rehearse_pilot/dagRuns/{run_id}/taskInstances"
    tasks = api(airflow).request("GET", path, limit=100)["task_instances"]
    labels = [one["rendered_map_index"] for one in tasks if one["task_id"] == "rehearsal.stage"]
    assert len(labels) == 1 + len(found.measured.parts) and f"freeze: {found.measured.freeze:.1f} s" in labels
    assert {*made.places().values()} == {Place.LEGACY}
    written(made, "north", "legacy")


@part_of_faults
def test_what_is_marked_as_done_is_not_flipped(airflow: LocalAirflow, made: Phased) -> None:
    """Somebody marks the fence as a success while people are asked."""
    prove(made)
    run_id = airflow.trigger("cutover_pilot")
    asked(airflow, "cutover_pilot", run_id)
    fence = f"dags/cutover_pilot/dagRuns/{run_id}/taskInstances/fence.fence"
    api(airflow).request("PATCH", fence, {"new_state": "success"})
    approve(airflow, "cutover_pilot", run_id)
    assert airflow.wait("cutover_pilot", run_id, PATIENCE) == "failed"
    assert any("final_cut was not begun: fence was not done" in one for one in told(airflow, "cutover_pilot"))
    assert set(made.places().values()) == {Place.LEGACY}


@part_of_faults
def test_a_run_that_is_marked_as_failed_in_the_freeze_thaws(airflow: LocalAirflow, made: Phased) -> None:
    prove(made)
    run_id = airflow.trigger("cutover_pilot")
    approve(airflow, "cutover_pilot", run_id)

    def is_frozen() -> bool:
        return states(airflow, "cutover_pilot", run_id)["freeze.freeze"] == "success"

    api(airflow).until(is_frozen, PATIENCE, "nothing was frozen")
    api(airflow).request("PATCH", f"dags/cutover_pilot/dagRuns/{run_id}", {"state": "failed"})
    assert airflow.wait("cutover_pilot", run_id, PATIENCE) == "failed"
    over = (Place.LEGACY, Place.MEDPLUM)  # it may have been faster than we were
    api(airflow).until(lambda: made.places()["north"] in over, 60, "the freeze was left to its own time")
    if made.places()["north"] is Place.MEDPLUM:
        moved(airflow, "rollback_pilot")


@part_of_faults
def test_three_waves_move_one_after_the_other_and_one_comes_back(airflow: LocalAirflow, made: Phased) -> None:
    for wave, unit in WAVES.items():
        prove(made)
        moved(airflow, f"cutover_{wave}")
        written(made, unit, "medplum")
    assert set(made.places().values()) == {Place.MEDPLUM}
    moved(airflow, "rollback_late")
    assert made.places() == dict.fromkeys(("west", "shared"), Place.LEGACY) | dict.fromkeys(
        ("north", "south"), Place.MEDPLUM
    )
    written(made, "west", "legacy")


@part_of_faults
def test_all_units_move_at_once(airflow: LocalAirflow, made: Phased) -> None:
    """The plan says big bang now, and nothing is loaded anew."""
    for wave in ("rest", "pilot"):
        moved(airflow, f"rollback_{wave}")
    rest(made)
    set_waves(made, [EVERYTHING])
    made.anew()
    make_ready(made)
    begin_work(made)
    moved(airflow, f"cutover_{EVERYTHING}")
    assert set(made.places().values()) == {Place.MEDPLUM}
    for unit in WAVES.values():
        written(made, unit, "medplum")


@part_of_faults
def test_what_is_over_is_taken_down(airflow: LocalAirflow, made: Phased) -> None:
    """Its window has passed; the journal goes with the last wave, so nothing is kept in step any more."""
    prove(made)
    rest(made)
    made.pass_days(15)
    dag_id = f"{RETIREMENT}{EVERYTHING}"
    run_id = airflow.trigger(dag_id)
    approve(airflow, dag_id, run_id)
    assert airflow.wait(dag_id, run_id, PATIENCE) == "success", told(airflow, dag_id)
    _, members = verify_evidence(made.folder / "evidence" / f"tiny-{EVERYTHING}.zip")
    assert "cutovers.json" in members
    assert CHANGE not in made.tables() and GATE in made.tables(), "the gates refuse writes for ever"
    assert made.staged() == []
    assert made.approvals("retire/")[-1] == f"retire/tiny/{EVERYTHING}: admin"


def test_nothing_was_lost(airflow: LocalAirflow, made: Phased) -> None:
    """The last test of the file: whoever was at work goes home."""
    made.work.close()
    assert made.diary.lost(made.final()) == []
    assert made.diary.refusals["legacy"] > 0, "whoever ignores the routing is refused"
    seconds = sorted(made.freezes())
    sys.stdout.write(
        f"{len(made.diary.acknowledged)} writes, 0 lost; seconds without a writer, {len(seconds)} times: "
        f"median {seconds[len(seconds) // 2]:.1f}, p95 {seconds[round(0.95 * (len(seconds) - 1))]:.1f}\n"
        f"{made.forecasts()}\n"
    )
