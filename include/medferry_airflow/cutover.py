"""Draws the DAGs that move a wave's operations there and back:

    readiness → approval → freeze → fence → final_cut → verify → reverse_start → flip → observe
                              └──────────────── thaw (teardown of freeze) ────────────────┘

People are asked before the freeze; within it only machines decide. `thaw` runs when all that follows the freeze has
ended, also where a stage failed or an operator marked the run as failed: what is closed and not flipped is opened. It
alone decides the colour of the DAG run, as a teardown that may fail one does: it is red unless the units have moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk import Param, TaskGroup

from medferry.cutover.stages import STAGES, Stage
from medferry.manifest.cutovers import Direction
from medferry.plan.sections import Stakeholder
from medferry_airflow.asked import approval
from medferry_airflow.tasks import cutover as tasks

WORDS = {Direction.FORTH: "cutover", Direction.BACK: "rollback"}

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
    minutes = "The freeze must begin within so many minutes of your answer."
    param = Param(60, type="integer", minimum=1, maximum=1_440, title="Minutes", description=minutes)
    return approval(f"May the {WORDS[direction]} of wave {wave} begin?", _SHOWN, approvers, {"minutes": param})
