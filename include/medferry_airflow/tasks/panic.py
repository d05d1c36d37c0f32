"""The task that stops all writing, or lets it begin again."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

from airflow.sdk import task

from medferry_airflow.guard import guarded
from medferry_airflow.tasks.environment import environment

log = logging.getLogger(__name__)

SOON = timedelta(seconds=2)


@task(retry_delay=SOON, max_retry_delay=SOON)
@guarded
def panic(params: dict[str, Any] | None = None, dag_run: Any = None) -> None:
    """Stop the writing of all waves and open what is closed and not flipped, or lift it; in no pool."""
    from medferry.workflows.cutover import Choice
    from medferry.workflows.panic import Panic, lift
    from medferry.workflows.panic import panic as stop

    chosen = params or {}
    if chosen["lift"]:
        lift(environment(), chosen["person"], chosen["reason"], dag_run.run_after)
    else:
        stop(environment(), Panic(Choice(chosen["person"]), chosen["reason"], log.warning))
