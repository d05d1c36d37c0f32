"""What a task has read and written, told to OpenLineage by Airflow's own provider where a transport is configured.

The provider asks the operator that has done its work; a task is a function here, so its operator is given the answer.
By itself it makes the events, sends them in a process of its own with a limit of time, and fails no task.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from airflow.sdk import Param

if TYPE_CHECKING:
    from medferry.manifest.checks import CheckResult
    from medferry.manifest.runs import SliceStage
    from medferry.runtime.environment import Environment
    from medferry.workflows.sync import Way

log = logging.getLogger(__name__)

UNTOLD = {"_openlineage_emission_policy": Param({"emit": False})}
"""As a task's params: no event of it is sent. A server that does not answer holds each task up for seconds, twice."""


def tell_slice(task: Any, environment: Environment, run_id: str, slice_id: str, stage: SliceStage) -> None:
    """What was read and written to bring a slice to `stage`, with its counts. `task`: the task instance at work."""
    _tell(task, lambda datasets: _known(datasets.of_slice(environment, run_id, slice_id, stage)))


def tell_run(task: Any, environment: Environment, run_id: str) -> None:
    """From which tables to which resource types a run has brought each entity, as it stands in its accounting."""

    def send(datasets: ModuleType) -> Callable[[Any], Any]:
        found = datasets.of_run(environment, run_id)
        return lambda at_its_end: datasets.send_entities(at_its_end, found)

    _tell(task, send)


def tell_verification(task: Any, environment: Environment, results: list[CheckResult]) -> None:
    """What was compared, with each check's result."""
    _tell(task, lambda datasets: _known(datasets.of_verification(environment, results)))


def tell_sync(task: Any, environment: Environment, way: Way, counts: dict[str, int]) -> None:
    """What a run of the synchronisation has gone between, with what it counted."""
    _tell(task, lambda datasets: _known(datasets.of_sync(environment, way, counts)))


def _known(found: Any) -> Callable[[Any], Any]:
    return lambda _: found


def _tell(task: Any, made: Callable[[ModuleType], Callable[[Any], Any]]) -> None:
    """What keeps it from being told is told in the log: the work is done, and was recorded."""
    try:
        from airflow.providers.openlineage import conf

        if conf.is_disabled():
            return
        from medferry_airflow import lineage_datasets  # dear

        answer = made(lineage_datasets)
    except Exception as error:  # noqa: BLE001 -- whatever it is, it is no reason to fail
        log.warning("OpenLineage is not told what this task has read and written (%s).", type(error).__name__)
        return
    task.task.get_openlineage_facets_on_complete = answer
