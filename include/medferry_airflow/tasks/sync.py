"""The tasks that keep a wave in step."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import task

from medferry_airflow.guard import guarded
from medferry_airflow.lineage import tell_sync
from medferry_airflow.names import POOL
from medferry_airflow.tasks.environment import environment

if TYPE_CHECKING:
    from medferry.workflows.sync import Way


@task(pool=POOL, multiple_outputs=False)
@guarded
def sync(
    wave: str,
    tail_seconds: int,
    data_interval_start: datetime | None = None,
    data_interval_end: datetime | None = None,
    ti: Any = None,
) -> dict[str, int]:
    """Take the next cut of the journal, or repeat those of this interval; returns the records by disposition."""
    from medferry.workflows.sync import Way

    return _in_step(ti, Way.FORTH, wave, data_interval_start, data_interval_end, tail_seconds)


@task(pool=POOL, multiple_outputs=False)
@guarded
def reverse(
    wave: str,
    tail_seconds: int,
    data_interval_start: datetime | None = None,
    data_interval_end: datetime | None = None,
    ti: Any = None,
) -> dict[str, int]:
    """Write back what users changed in Medplum; returns the rows written, and what was held back."""
    from medferry.workflows.sync import Way

    return _in_step(ti, Way.BACK, wave, data_interval_start, data_interval_end, tail_seconds)


def _in_step(
    task_instance: Any, way: Way, wave: str, start: datetime | None, end: datetime | None, tail_seconds: int
) -> dict[str, int]:
    from medferry_airflow.in_step import in_step

    counts = in_step(way, wave, start, end, tail_seconds)
    tell_sync(task_instance, environment(), way, counts)
    return counts
