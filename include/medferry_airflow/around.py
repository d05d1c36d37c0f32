"""Draws the DAGs around a wave's cutover, long before it and long after it:

rehearse_<wave>:  measure → stage (one for each act, named by what it took)
retire_<wave>:    look → approve → retire
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk import TaskGroup

from medferry.plan.sections import Stakeholder
from medferry_airflow.asked import approval
from medferry_airflow.tasks import rehearse, retire

_SHOWN = "{{ ti.xcom_pull(task_ids='look') }}"


def draw_rehearsal(wave: str) -> None:
    """Draw the tasks of a rehearsal into the present DAG: no task of a cutover is among them."""
    with TaskGroup("rehearsal", tooltip="A freeze against another Medplum, timed; nothing closes, nothing flips"):
        rehearse.stage.expand(told=rehearse.measure(wave))


def draw_retirement(wave: str, approvers: Sequence[Stakeholder]) -> None:
    """Draw the tasks that take a wave down into the present DAG."""
    looked: Any = retire.look(wave)
    approved = approval(f"May wave {wave} be taken down? There is no way back afterwards.", _SHOWN, approvers, {})
    answer: Any = approved.output
    looked >> approved >> retire.retire(wave, answer)
