"""The task that pauses, resumes or aborts a run."""

from __future__ import annotations

from typing import Any

from airflow.sdk import task

from medferry.runtime.control import CONTROLS, ControlAction
from medferry_airflow.guard import guarded
from medferry_airflow.tasks.environment import environment


@task
@guarded
def control(params: dict[str, Any] | None = None) -> None:
    """Pause, resume or abort a run at work; its workers obey within seconds, after the chunk in flight."""
    chosen = params or {}
    CONTROLS[ControlAction(chosen["action"])](environment(), chosen["run"])
