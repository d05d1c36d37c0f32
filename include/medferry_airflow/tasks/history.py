"""The tasks with which a run of a period begins; what follows is that of any run."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow.sdk import task

from medferry_airflow.guard import guarded
from medferry_airflow.names import POOL

RUN_KEY = "run"
"""Under which `prepare` leaves the id of the run that it has prepared."""


@task.short_circuit
@guarded
def find_records(
    run: str,
    wave: str,
    params: dict[str, Any] | None = None,
    data_interval_start: datetime | None = None,
    data_interval_end: datetime | None = None,
) -> bool:
    """Whether the period has any record; if not, everything after this is skipped and no run is made."""
    from medferry_airflow import by_period

    return by_period.anything(run, wave, params or {}, (data_interval_start, data_interval_end))


@task(task_id="prepare", pool=POOL)
@guarded
def prepare_of_period(
    run: str,
    wave: str,
    params: dict[str, Any] | None = None,
    ti: Any = None,
    dag_run: Any = None,
    data_interval_start: datetime | None = None,
    data_interval_end: datetime | None = None,
) -> list[str]:
    """Choose the period's records and what they refer to, cut them into slices, take the leases; returns slice ids."""
    from medferry_airflow import by_period
    from medferry_airflow.preparing import check_number

    interval = (data_interval_start, data_interval_end)
    run_id, slices = by_period.prepare(run, wave, params or {}, interval, dag_run)
    ti.xcom_push(key=RUN_KEY, value=run_id)
    check_number(len(slices))
    return [one.id for one in slices]
