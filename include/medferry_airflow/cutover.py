"""Draws the DAGs that move a wave's operations there and back:

    readiness → approval → freeze → fence → final_cut → verify → reverse_start → flip → observe
                              └──────────────── thaw (teardown of freeze) ────────────────┘

People are asked before the freeze; within it only machines decide. `thaw` runs when all that follows the freeze has
ended, also where a stage failed or an operator marked the run as failed: what is closed and not flipped is opened. It
alone decides the colour of the DAG run, as a teardown that may fail one does: it is red unless the units have moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param, TaskGroup
from airflow.sdk.execution_time.hitl import HITLUser

from medferry.cutover.stages import STAGES, Stage
from medferry.manifest.cutovers import Direction
from medferry.plan.sections import Stakeholder
from medferry_airflow.tasks import cutover as tasks

NOBODY = HITLUser(id=":nobody", name="nobody")
"""Who may answer where the plan names nobody: to leave it open would let everybody approve."""

WORDS = {Direction.FORTH: "cutover", Direction.BACK: "rollback"}
PATIENCE = timedelta(hours=8)
"""For an answer; none is a no."""

_SHOWN = "{{ ti.xcom_pull(task_ids='readiness.look') }}"
_PERSON = "{{ ti.xcom_pull(task_ids='approval.arm') }}"


def draw(direction: Direction, wave: str, approvers: Sequence[Stakeholder]) -> None:
    """Draw the tasks of one direction into the present DAG."""
    with TaskGroup("readiness", tooltip="Every condition, with its evidence"):
        looked: Any = tasks.look(wave, str(direction))
    with TaskGroup("approval", tooltip="People decide, before anything is closed"):
        approved = _approval(direction, wave, approvers)
        armed: Any = tasks.arm(wave, str(direction), _SHOWN, approved.output)
        looked >> approved >> armed
    made = [armed]
    for stage in STAGES[direction]:
        made.append(_stage(direction, wave, stage))
        made[-2] >> made[-1]
    thaw: Any = tasks.thaw(wave, str(direction), _PERSON)
    made[-1] >> thaw.as_teardown(setups=made[1], on_failure_fail_dagrun=True)


def _stage(direction: Direction, wave: str, stage: Stage) -> Any:
    page = STAGES[direction][stage].page
    with TaskGroup(stage.value, group_display_name=stage.replace("_", " "), tooltip=page):
        described = tasks.perform.override(task_id=stage.value, doc_md=page)
        return described(wave, str(direction), stage.value, _PERSON)


def _approval(direction: Direction, wave: str, approvers: Sequence[Stakeholder]) -> Any:
    """Rejected, or without an answer in time, it fails: nothing downstream runs, and the run is red."""
    minutes = "The freeze must begin within so many minutes of your answer."
    return ApprovalOperator(
        task_id="approve",
        subject=f"May the {WORDS[direction]} of wave {wave} begin?",
        body=_SHOWN,
        assigned_users=_users(approvers),
        params={"minutes": Param(60, type="integer", minimum=1, maximum=1_440, title="Minutes", description=minutes)},
        fail_on_reject=True,
        response_timeout=PATIENCE,
        retry_delay=tasks.SOON,  # an answer that Airflow loses is asked for anew, while who gave it still looks
        max_retry_delay=tasks.SOON_AT_MOST,
        doc_md="Ask the people whom the plan names, with the evidence in the form. No answer in time means no.",
    )


def _users(approvers: Sequence[Stakeholder]) -> list[HITLUser]:
    known = [HITLUser(id=one.airflow_user, name=one.name) for one in approvers if one.airflow_user]
    return known or [NOBODY]
