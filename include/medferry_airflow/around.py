"""Draws the DAGs around a wave's cutover, long before it and long after it:

rehearse_<wave>:  measure → stage (one for each act, named by what it took)
retire_<wave>:    look → approve → retire
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk import TaskGroup

from medferry.plan.people import Stakeholder
from medferry_airflow.asked import approval
from medferry_airflow.tasks import rehearse, retire

_SHOWN = "{{ ti.xcom_pull(task_ids='look') }}"
_AWAITED = "{{ ti.xcom_pull(task_ids='say') }}"


def draw_rehearsal(wave: str) -> None:
    """Draw the tasks of a rehearsal into the present DAG: no task of a cutover is among them."""
    with TaskGroup("rehearsal", tooltip="A freeze against another Medplum, timed; nothing closes, nothing flips"):
        rehearse.stage.expand(told=rehearse.measure(wave))


def draw_retirement(wave: str, question: str, approvers: Sequence[Stakeholder], two: bool) -> None:
    """Draw the tasks that take a wave down into the present DAG. `two`: two people are asked, one after the other."""
    before: Any = retire.look(wave)
    answer: Any
    shown, task_id = _SHOWN, "approve"
    if two:
        first = approval(question, shown, approvers, {})
        answer = first.output
        said: Any = retire.say(wave, answer)
        before >> first >> said
        before, shown, task_id = said, f"{_AWAITED}\n\n{_SHOWN}", "approve_second"
    approved = approval(question, shown, approvers, {}, task_id)
    answer = approved.output
    before >> approved >> retire.retire(wave, answer)
