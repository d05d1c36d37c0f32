"""In every DAG with a flip, verification and approval come before it, and nothing lets a failure or a skip through."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, TriggerRule
from airflow.serialization.serialized_objects import DagSerialization

from medferry.cutover.stages import STAGES, Stage
from medferry.manifest.cutovers import Direction
from medferry.plan.people import Approval, Stakeholder
from medferry.workflows.cutover_approval import ApprovalTooOld
from medferry_airflow.asked import NOBODY
from medferry_airflow.cutover import draw
from medferry_airflow.tasks import cutover
from tests import tiny_platform
from tests.dags.conftest import parse
from tests.dags.flips import faults, flips, succeeded_before

GATE = """
tables: {patient: unit, weight: unit}
ungated: {clinic: kept by the group, staff: kept by the group}
medplum:
  policies:
    - {policy: p-north, unit: north, probe: north, creates: {resourceType: Patient}}
    - {policy: p-south, unit: south, probe: south, creates: {resourceType: Patient}}
    - {policy: p-shared, unit: shared, probe: shared, creates: {resourceType: Patient}}
"""
PEOPLE = [
    Stakeholder(
        name="Miriam Okafor",
        role="Director",
        contact="m@clinics.example",
        approves=frozenset({Approval.CUTOVER}),
        airflow_user="miriam",
    ),
    Stakeholder(name="Paul Lindqvist", role="Head of IT", contact="p@clinics.example"),
]


def drawn(people: list[Stakeholder] = PEOPLE, direction: Direction = Direction.FORTH, two: bool = False) -> DAG:
    with DAG("cutover_pilot", schedule=None) as dag:
        draw(direction, "pilot", "May it?", people, two)
    return dag


@pytest.fixture
def dag() -> DAG:
    return drawn()


def test_no_dag_flips_what_is_not_verified_and_approved(dags: dict[str, DAG]) -> None:
    assert dags
    assert {name: found for name, dag in dags.items() if (found := faults(dag))} == {}


@pytest.mark.parametrize("direction", STAGES)
def test_a_cutover_and_a_rollback_as_they_are_drawn_are_safe(direction: Direction) -> None:
    dag = drawn(direction=direction)
    assert flips(dag) == ["flip.flip"]
    assert faults(dag) == []
    stages = [f"{stage}.{stage}" for stage in STAGES[direction] if stage not in (Stage.FLIP, Stage.OBSERVE)]
    assert succeeded_before(dag, "flip.flip") == {"readiness.look", "approval.approve", "approval.arm", *stages}


@pytest.mark.parametrize("direction", STAGES)
def test_where_the_plan_asks_for_two_both_are_asked_one_after_the_other(direction: Direction) -> None:
    dag = drawn(direction=direction, two=True)
    assert faults(dag) == []
    asked = {"approval.approve", "approval.arm", "approval.approve_second", "approval.arm_second"}
    assert asked < succeeded_before(dag, "flip.flip")
    assert succeeded_before(dag, "approval.approve_second") == {"readiness.look", "approval.approve", "approval.arm"}
    assert "approval.arm_second" in str(dag.get_task("freeze.freeze").op_args)


@pytest.mark.parametrize("direction", STAGES)
def test_the_second_one_s_form_says_who_is_awaited(direction: Direction) -> None:
    asked = drawn(direction=direction, two=True).get_task("approval.approve_second")
    assert "'approval.arm'" in str(asked.body) and "'readiness.look'" in str(asked.body)


def test_each_of_two_has_said_until_when_the_freeze_may_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    def answered(name: str, ago: timedelta) -> dict[str, Any]:
        user = {"id": name.lower(), "name": name}
        return {"responded_by_user": user, "responded_at": datetime.now(UTC) - ago, "params_input": {"minutes": 60}}

    monkeypatch.setattr(cutover, "environment", lambda: pytest.fail("it was armed"))
    answers = [answered("Miriam", timedelta(minutes=61)), answered("Paul", timedelta())]
    with pytest.raises(ApprovalTooOld, match="Miriam approved a freeze that begins by"):
        cutover.arm.function("pilot", str(Direction.FORTH), "shown", answers)


def rule(task_id: str, of: TriggerRule) -> Callable[[DAG], None]:
    return lambda dag: setattr(dag.get_task(task_id), "trigger_rule", of)


def approval(**values: Any) -> Callable[[DAG], None]:
    def plant(dag: DAG) -> None:
        for name, value in values.items():
            setattr(dag.get_task("approval.approve"), name, value)

    return plant


def bypass(dag: DAG) -> None:
    """The freeze begins without the approval, and the flip waits for it later."""
    arm, freeze = dag.get_task("approval.arm"), dag.get_task("freeze.freeze")
    arm.downstream_task_ids.remove(freeze.task_id)
    freeze.upstream_task_ids.remove(arm.task_id)
    arm >> dag.get_task("flip.flip")


PLANTED: dict[str, tuple[Callable[[DAG], None], str]] = {
    "a failed verification is let through": (rule("reverse_start.reverse_start", TriggerRule.ALL_DONE), "verification"),
    "a skipped one is, too": (rule("reverse_start.reverse_start", TriggerRule.NONE_FAILED), "without verification"),
    "the flip waits for one alone": (rule("flip.flip", TriggerRule.ONE_SUCCESS), "without approval"),
    "a rejection is let through": (rule("approval.arm", TriggerRule.ALL_DONE), "without approval"),
    "the freeze is first": (bypass, "before the approval"),
    "a rejection is green": (approval(fail_on_reject=False), "a rejection does not fail"),
    "everybody may approve": (approval(assigned_users=[]), "everybody may approve"),
    "no answer means yes": (approval(defaults=[ApprovalOperator.APPROVE]), "no answer means yes"),
    "asked for ever": (approval(response_timeout=None), "for ever"),
    "nothing to decide on": (approval(body=None), "without evidence"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(dag: DAG, name: str) -> None:
    plant, told = PLANTED[name]
    plant(dag)
    assert any(told in fault for fault in faults(dag)), faults(dag)


def test_only_whom_the_plan_names_may_answer() -> None:
    asked = drawn().get_task("approval.approve")
    assert asked.assigned_users == [{"id": "miriam", "name": "Miriam Okafor"}]
    assert drawn(PEOPLE[1:]).get_task("approval.approve").assigned_users == [NOBODY]


def test_an_answer_that_airflow_loses_is_asked_for_anew_at_once() -> None:
    assert drawn().get_task("approval.approve").max_retry_delay < timedelta(seconds=10)


@pytest.mark.parametrize("direction", STAGES)
def test_what_is_closed_and_not_flipped_is_thawed_however_it_ends(direction: Direction) -> None:
    dag = drawn(direction=direction)
    thaw = dag.get_task("thaw")
    assert thaw.is_teardown and thaw.on_failure_fail_dagrun and dag.get_task("freeze.freeze").is_setup
    assert {f"{stage}.{stage}" for stage in STAGES[direction]} <= thaw.get_flat_relative_ids(upstream=True)
    assert "freeze.freeze" in thaw.upstream_task_ids  # its setup: a stage that is cleared alone is frozen again


@pytest.mark.parametrize("direction", STAGES)
def test_every_stage_is_a_group_with_a_page(direction: Direction) -> None:
    dag = drawn(direction=direction)
    groups = dag.task_group.get_task_group_dict()
    assert [*groups][1:] == ["readiness", "approval", *STAGES[direction]]
    for stage, of in STAGES[direction].items():
        assert groups[stage.value].tooltip == dag.get_task(f"{stage}.{stage}").doc_md == of.page


def test_the_freeze_does_not_wait_for_another_try_or_a_slot() -> None:
    for task in drawn().tasks:
        if task.task_id.partition(".")[0] in (*Stage, "thaw"):
            assert task.max_retry_delay < timedelta(seconds=10) and task.pool == "default_pool"


APPROVE = {False: "approval.approve", True: "approve"}


def test_a_migration_with_gates_of_both_sides_has_both_dags(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_platform.MIGRATION, tmp_path / "tiny"))
    assert not {name for name, dag in parse(tiny_platform.MIGRATION).dags.items() if "cutover" in dag.tags}
    (folder / "gate.yaml").write_text(GATE)
    found = parse(folder)
    assert found.import_errors == {}
    moving = {name: dag for name, dag in found.dags.items() if "cutover" in dag.tags}
    assert sorted(moving) == sorted(
        f"{word}_{wave}" for word in ("cutover", "rehearse", "retire", "rollback") for wave in ("pilot", "rest")
    )
    for name, dag in moving.items():
        assert bool(flips(dag)) == name.startswith(("cutover", "rollback")) and faults(dag) == []
        assert name.startswith("rehearse") or dag.get_task(APPROVE[name.startswith("retire")]).assigned_users == [
            NOBODY
        ]  # its plan names nobody
        DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))
        for part in ("It changes", "Do not trigger it", "Example conf", "When it is red", "Pool"):
            assert dag.doc_md and part in dag.doc_md


def test_they_stay_where_they_are_when_the_migration_breaks(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_platform.MIGRATION, tmp_path / "broken"))
    (folder / "gate.yaml").write_text(GATE)
    (folder / "mappings" / "weight.py").write_text("this is no Python")
    found = parse(folder).dags
    for name in ("cutover_pilot", "rollback_rest", "rehearse_pilot", "retire_rest"):
        assert found[name].task_ids == ["broken_migration"] and "weight.py" in (found[name].doc_md or "")
