"""The task that pauses, resumes or aborts a run."""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import task

from medferry.runtime.options import ControlAction
from medferry_airflow.guard import guarded
from medferry_airflow.tasks.environment import environment, noted

log = logging.getLogger(__name__)


@task
@guarded
def control(params: dict[str, Any] | None = None) -> None:
    """Pause, resume or abort a run at work; its workers obey within seconds, after the chunk in flight."""
    from medferry.runtime.control import CONTROLS, controlled_run

    chosen = params or {}
    run, action = controlled_run(environment(), chosen.get("run")), ControlAction(chosen["action"])
    CONTROLS[action](environment(), run)
    log.info("Run %s: %s.", run, action)
    noted(run)
