"""The tasks that keep a wave in step."""

from __future__ import annotations

from datetime import datetime

from airflow.sdk import task

from medferry_airflow.guard import guarded
from medferry_airflow.names import POOL


@task(pool=POOL, multiple_outputs=False)
@guarded
def sync(
    wave: str,
    tail_seconds: int,
    data_interval_start: datetime | None = None,
    data_interval_end: datetime | None = None,
) -> dict[str, int]:
    """Take the next cut of the journal, or repeat those of this interval; returns the records by disposition."""
    from medferry.workflows.sync import Way
    from medferry_airflow.in_step import in_step

    return in_step(Way.FORTH, wave, data_interval_start, data_interval_end, tail_seconds)


@task(pool=POOL, multiple_outputs=False)
@guarded
def reverse(
    wave: str,
    tail_seconds: int,
    data_interval_start: datetime | None = None,
    data_interval_end: datetime | None = None,
) -> dict[str, int]:
    """Write back what users changed in Medplum; returns the rows written, and what was held back."""
    from medferry.workflows.sync import Way
    from medferry_airflow.in_step import in_step

    return in_step(Way.BACK, wave, data_interval_start, data_interval_end, tail_seconds)
