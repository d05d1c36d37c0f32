"""In every DAG with a flip, verification and approval come before it, and nothing lets a failure or a skip through."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, TriggerRule, task

from medferry.cutover.stages import BEFORE_THE_FLIP, PAGES, Direction, Stage
from medferry.plan.sections import Approval, Stakeholder
from medferry_airflow.cutover import NOBODY, Acts, draw
from tests.dags.flips import faults, flips, succeeded_before

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


def make(task_id: str) -> Callable[[], Any]:
    @task(task_id=task_id)
    def act() -> None:
        """Stands in for an act."""

    return act


def drawn(people: list[Stakeholder] = PEOPLE) -> DAG:
    stages = {stage: make(stage.value) for stage in Stage}
    acts = Acts(look=make("look"), arm=make("arm"), stages=stages, thaw=make("thaw"))
    with DAG("cutover_pilot", schedule=None) as dag:
        draw(Direction.CUTOVER, "pilot", acts, people, timedelta(hours=4))
    return dag


@pytest.fixture
def dag() -> DAG:
    return drawn()


def test_no_dag_flips_what_is_not_verified_and_approved(dags: dict[str, DAG]) -> None:
    assert dags
    assert {name: found for name, dag in dags.items() if (found := faults(dag))} == {}


def test_a_cutover_as_it_is_drawn_is_safe(dag: DAG) -> None:
    assert flips(dag) == ["flip.flip"]
    assert faults(dag) == []
    earlier = {"readiness.look", "approval.approve", "approval.arm", *(f"{stage}.{stage}" for stage in BEFORE_THE_FLIP)}
    assert succeeded_before(dag, "flip.flip") == earlier


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
    "a failed verification is let through": (rule("feed_start.feed_start", TriggerRule.ALL_DONE), "verification"),
    "a skipped one is, too": (rule("feed_start.feed_start", TriggerRule.NONE_FAILED), "without verification"),
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


def test_what_is_closed_and_not_flipped_is_thawed_however_it_ends(dag: DAG) -> None:
    thaw = dag.get_task("thaw")
    assert thaw.is_teardown and dag.get_task("freeze.freeze").is_setup
    assert {"freeze.freeze", "flip.flip"} <= thaw.upstream_task_ids
    within = {f"{stage}.{stage}" for stage in (*BEFORE_THE_FLIP, Stage.FLIP)}
    assert within <= thaw.get_flat_relative_ids(upstream=True)
    assert "observe.observe" not in thaw.get_flat_relative_ids(upstream=True)


def test_every_stage_is_a_group_with_a_page(dag: DAG) -> None:
    groups = dag.task_group.get_task_group_dict()
    assert [*groups][1:] == ["readiness", "approval", *Stage]
    assert all(groups[stage.value].tooltip == PAGES[Direction.CUTOVER][stage] for stage in Stage)
    for pages in PAGES.values():
        assert [*pages] == [*Stage] and all(len(page) > 40 for page in pages.values())
