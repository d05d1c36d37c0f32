"""The task that keeps a wave in step."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import task

from medferry.manifest.checkpoints import Interval
from medferry.sync.cycle import Cycle
from medferry.workflows.sync import sync_interval, sync_wave
from medferry_airflow.guard import guarded
from medferry_airflow.tasks.environment import POOL, environment

log = logging.getLogger(__name__)


@task(pool=POOL, multiple_outputs=False)
@guarded
def sync(
    wave: str,
    tail_seconds: int,
    data_interval_start: datetime | None = None,
    data_interval_end: datetime | None = None,
) -> dict[str, int]:
    """Take the next cut of the journal, or repeat those of this interval; returns the records by disposition."""
    counts: Counter[str] = Counter()

    def tell(done: Cycle) -> None:
        for run_id, of_run in done.runs.items():
            log.info("%s: %s", run_id, dict(of_run))
            counts.update(of_run)

    start, end = data_interval_start, data_interval_end
    if start is None or end is None or start == end:
        sync_wave(environment(), wave, tell)
    else:
        sync_interval(environment(), wave, Interval(_text(start), _text(end)), tell, _tail(start, end, tail_seconds))
    return dict(counts)


def _text(time: Any) -> str:
    return datetime.fromtimestamp(time.timestamp(), UTC).isoformat(timespec="seconds")


def _tail(start: datetime, end: datetime, tail_seconds: int) -> float:
    """Until the next run takes over at most: a run of a past interval has none."""
    takes_over = end + (end - start)
    return max(0.0, min(float(tail_seconds), (takes_over - datetime.now(UTC)).total_seconds()))
