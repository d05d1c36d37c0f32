"""The tasks with which a run of a period begins; what follows is that of any run."""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime
from functools import partial
from itertools import count
from typing import Any

from airflow.sdk import task

from medferry.manifest.database import create_manifest
from medferry.manifest.runs import RunKind, SliceRow
from medferry.plan.periods import Period, period_between
from medferry.runtime.continuing import FilesChanged, LaterRun
from medferry.runtime.options import RunOptions
from medferry.runtime.systems import check_systems
from medferry.stages.by_period import anything_in_period, prepare_period
from medferry.stages.prepare import RunScope, scope_of
from medferry.workflows.finish import give_up
from medferry_airflow.definition import current_migration
from medferry_airflow.guard import guarded
from medferry_airflow.params import options_among
from medferry_airflow.tasks.environment import POOL, environment
from medferry_airflow.tasks.migrate import check_medplum, check_number
from medferry_airflow.turn import in_turn

log = logging.getLogger(__name__)

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
    period = _period(wave, data_interval_start, data_interval_end)
    create_manifest(environment().settings.manifest_url)
    check_systems(environment(), options_among(params or {}, RunOptions).dry_run)
    found = anything_in_period(environment(), run, _scope(wave, params), period)
    log.info("Period %s: there is %s to load.", period, "something" if found else "nothing")
    return found


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
    period, scope = _period(wave, data_interval_start, data_interval_end), _scope(wave, params)
    options = options_among(params or {}, RunOptions)
    if not options.dry_run:
        check_medplum(scope.entities, options)
    create_manifest(environment().settings.manifest_url)
    check_systems(environment(), options.dry_run)
    prepare = partial(_prepared, run, wave, scope, period, options)
    run_id, slices = in_turn(environment(), run, options, dag_run, prepare)
    ti.xcom_push(key=RUN_KEY, value=run_id)
    check_number(len(slices))
    return [one.id for one in slices]


def _prepared(run: str, wave: str, scope: RunScope, period: Period, options: RunOptions) -> tuple[str, list[SliceRow]]:
    """(id, slices) of the run that goes on for the DAG run, or of a new one.

    A month that is cleared after others have begun may not go on with what it staged: it is loaded anew.
    """
    for number in count(1):
        run_id = run if number == 1 else f"{run}.{number}"
        try:
            return run_id, prepare_period(environment(), run_id, f"{RunKind.HISTORY}_{wave}", scope, period, options)
        except (LaterRun, FilesChanged) as reason:
            log.info("Run %s does not go on, another takes its period: %s", run_id, reason.problem)
        except BaseException as error:
            give_up(environment(), run_id, error)  # `conclude` does not run after a failed preparation
            raise
    raise AssertionError("count ended")


def _scope(wave: str, params: dict[str, Any] | None) -> RunScope:
    migration = current_migration()
    return scope_of(migration, migration.plan.units_of_wave(wave), (params or {}).get("entities"))


def _period(wave: str, start: datetime | None, end: datetime | None) -> Period:
    history = current_migration().plan.wave(wave).history
    assert history is not None and start is not None and end is not None
    return period_between(history, _day(start), _day(end), datetime.now(UTC).date())


def _day(time: datetime) -> date:
    return datetime.fromtimestamp(time.timestamp(), UTC).date()
