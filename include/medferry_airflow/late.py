"""What Airflow does when a run of a synchronisation misses its deadline."""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk.observability.stats import Stats

log = logging.getLogger(__name__)


def tell_late(wave: str, context: dict[str, Any] | None = None) -> None:
    """Say so in the log of the executor's callbacks, and count it: ``medferry.sync.late.<wave>``."""
    run = (context or {}).get("dag_run") or {}
    log.error(
        "The wave %s is late: run %s is not over. Look at `medferry sync status`, and at the run's log.",
        wave,
        run.get("dag_run_id", "of the sync"),
    )
    Stats.incr(f"medferry.sync.late.{wave}", tags={"wave": wave})
