"""Builds the DAGs that move a wave's operations there and back:

    readiness → approval → freeze → fence → final_cut → verify → feed_start → flip → observe
                              └────────────── thaw (teardown of freeze) ──────┘

People are asked before the freeze; within it only machines decide. `thaw` runs when everything up to the flip has
ended, also where a stage failed or an operator marked the run as failed: what is closed and not flipped is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param, TaskGroup
from airflow.sdk.execution_time.hitl import HITLUser

from medferry.cutover.stages import BEFORE_THE_FLIP, PAGES, Direction, Stage
from medferry.plan.sections import Stakeholder

NOBODY = HITLUser(id=":nobody", name="nobody")
"""Who may answer where the plan names nobody: to leave it open would let everybody approve."""

ASKED = "{{ ti.xcom_pull(task_ids='readiness.look') }}"
"""The evidence, as it was when it was asked."""

Make = Callable[[], Any]
"""Makes a task in the present group."""


@dataclass(frozen=True)
class Acts:
    """How each part becomes a task, when its group is open."""

    look: Make
    """Whether all that a cutover needs is there; its result is the evidence as Markdown. Fails where it is not."""
    arm: Make
    """Record who approved, and refuse when that is too long ago or the evidence is another now."""
    stages: Mapping[Stage, Make]
    thaw: Make


def draw(direction: Direction, wave: str, acts: Acts, approvers: Sequence[Stakeholder], patience: timedelta) -> None:
    """Draw the tasks of one direction into the present DAG. Whoever does not answer within `patience` has said no."""
    pages = PAGES[direction]
    with TaskGroup("readiness", tooltip="Every condition, each with its evidence"):
        last = acts.look()
    with TaskGroup("approval", tooltip="People decide, before anything is closed"):
        approved = _approval(direction, wave, approvers, patience)
        last >> approved
        last = acts.arm()
        approved >> last
    made: dict[Stage, Any] = {}
    for stage in (*BEFORE_THE_FLIP, Stage.FLIP):
        made[stage] = last = _after(last, stage, acts.stages[stage], pages[stage])
    thaw = acts.thaw()
    last >> thaw.as_teardown(setups=made[Stage.FREEZE])
    _after(last, Stage.OBSERVE, acts.stages[Stage.OBSERVE], pages[Stage.OBSERVE])


def _after(before: Any, stage: Stage, make: Make, page: str) -> Any:
    with TaskGroup(stage.value, group_display_name=stage.replace("_", " "), tooltip=page):
        task = make()
    before >> task
    return task


def _approval(direction: Direction, wave: str, approvers: Sequence[Stakeholder], patience: timedelta) -> Any:
    """Rejected, or without an answer in time, it fails: nothing downstream runs, and the run is red."""
    minutes = "The freeze must begin within so many minutes of your answer; later you are asked again."
    return ApprovalOperator(
        task_id="approve",
        subject=f"May the {direction} of wave {wave} begin?",
        body=ASKED,
        assigned_users=_users(approvers),
        params={"minutes": Param(60, type="integer", minimum=1, maximum=1_440, title="Minutes", description=minutes)},
        fail_on_reject=True,
        response_timeout=patience,
        doc_md="Ask the people whom the plan names, with the evidence in the form. No answer in time means no.",
    )


def _users(approvers: Sequence[Stakeholder]) -> list[HITLUser]:
    known = [HITLUser(id=one.airflow_user, name=one.name) for one in approvers if one.airflow_user]
    return known or [NOBODY]
