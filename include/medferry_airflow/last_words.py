"""The last two lines of a red task's log: what is wrong, and what to do."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from medferry.errors import MedferryError

log = logging.getLogger(__name__)


def say_last(context: Mapping[str, Any]) -> None:
    """For ``on_failure_callback`` and ``on_retry_callback``, which Airflow calls after it has logged the error."""
    error = context.get("exception")
    if isinstance(error, MedferryError):
        log.error("%s: %s", type(error).__name__, error.problem)
        log.error("What to do: %s", error.remedy or 'see the runbook, "When a run is red".')
