"""The last two lines of a red task's log: what is wrong, and what to do.

A listener, and not the tasks' callbacks: what other plugins log of a failure, such as OpenLineage's, comes after those.
"""

from __future__ import annotations

import logging
from typing import Any

from airflow.listeners import hookimpl

from medferry.errors import MedferryError
from medferry.source.printable import printable

log = logging.getLogger(__name__)


@hookimpl(trylast=True)
def on_task_instance_failed(error: Any) -> None:
    """Called of each failed try, after Airflow has logged the error with its traceback."""
    if isinstance(error, MedferryError):
        log.error("%s: %s", type(error).__name__, printable(error.problem))
        log.error("What to do: %s", error.remedy or 'see the runbook, "When a run is red".')
