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
from medferry.plan.people import Stakeholder
from medferry_airflow.asked import approval
from medferry_airflow.lineage import UNTOLD
from medferry_airflow.tasks import cutover as tasks

_SHOWN = "{{ ti.xcom_pull(task_ids='readiness.look') }}"
_PERSON = "{{{{ ti.xcom_pull(task_ids='approval.{}') }}}}"


def draw(direction: Direction, wave: str, question: str, approvers: Sequence[Stakeholder], two: bool) -> None:
    """Draw the tasks of one direction into the present DAG. `two`: two people are asked, one after the other."""
    with TaskGroup("readiness", tooltip="Every condition, with its evidence"):
        looked: Any = tasks.look(wave, str(direction))
    with TaskGroup("approval", tooltip="People decide, before anything is closed"):
        armed, answers = looked, list[Any]()
        for number in ("", "_second") if two else ("",):
            shown = f"{_PERSON.format('arm')}\n\n{_SHOWN}" if number else _SHOWN
            approved = _approval(question, approvers, shown, two, f"approve{number}")
            before = armed
            answers = [*answers, approved.output]
            armed = tasks.arm.override(task_id=f"arm{number}")(wave, str(direction), _SHOWN, answers)
            before >> approved >> armed
    person, made = _PERSON.format(f"arm{number}"), [armed]
    for stage in STAGES[direction]:
        made.append(_stage(direction, wave, stage, person))
        made[-2] >> made[-1]
    thaw: Any = tasks.thaw.override(params=UNTOLD)(wave, str(direction), person)
    made[-1] >> thaw.as_teardown(setups=made[1], on_failure_fail_dagrun=True)


def _stage(direction: Direction, wave: str, stage: Stage, person: str) -> Any:
    page = STAGES[direction][stage].page
    with TaskGroup(stage.value, group_display_name=stage.replace("_", " "), tooltip=page):
        described = tasks.perform.override(task_id=stage.value, doc_md=page, params=UNTOLD)
        return described(wave, str(direction), stage.value, person)


def _approval(question: str, approvers: Sequence[Stakeholder], shown: str, two: bool, task_id: str) -> Any:
    minutes = "The freeze must begin within so many minutes of your answer"
    minutes += "; where two are asked, the first one's minutes hold as well." if two else "."
    param = Param(60, type="integer", minimum=1, maximum=1_440, title="Minutes", description=minutes)
    return approval(question, shown, approvers, {"minutes": param}, task_id)
