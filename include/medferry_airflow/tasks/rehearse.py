"""The tasks that rehearse a wave's cutover. None of them knows a way to the acts of a real one."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow.sdk import task

from medferry_airflow.guard import guarded
from medferry_airflow.tasks.environment import environment

if TYPE_CHECKING:
    from medferry.cutover.acts import Act

log = logging.getLogger(__name__)

STAGE_LABEL = "{{ task.op_kwargs['told'] }}"


@task
@guarded
def measure(wave: str) -> list[str]:
    """Measure the freeze against the other Medplum, and record it; returns what each act took, and the whole."""
    from medferry.runtime.rehearsal import rehearsal_of
    from medferry.workflows.cutover import Choice
    from medferry.workflows.rehearse import rehearse
    from medferry_airflow.actor import airflow_actor

    found = rehearse(environment(), rehearsal_of(environment()), wave, Choice(airflow_actor(), tell=_tell))
    forecast = "not known" if found.forecast is None else f"{found.forecast:.1f} s"
    log.info("Rehearsed, nothing flipped. The forecast was %s.", forecast)
    return [*(f"{act}: {seconds:.1f} s" for act, seconds in found.parts.items()), f"freeze: {found.freeze:.1f} s"]


@task(map_index_template=STAGE_LABEL)
@guarded
def stage(told: str) -> None:
    """Show in the grid what a stage of the freeze took; does nothing."""
    log.info("%s", told)


def _tell(act: Act, text: str) -> None:
    log.info("%s: %s", act, text)
