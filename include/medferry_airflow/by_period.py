"""How a run of a period is prepared in a task; what follows is that of any run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import partial
from itertools import count
from typing import Any

from medferry.manifest.database import create_manifest
from medferry.manifest.kinds import RunKind
from medferry.manifest.runs import SliceRow
from medferry.plan.periods import Period, period_between
from medferry.runtime.continuing import FilesChanged, LaterRun
from medferry.runtime.options import RunOptions
from medferry.runtime.systems import check_systems
from medferry.stages.by_period import anything_in_period, prepare_period
from medferry.stages.prepare import RunScope, scope_of
from medferry.workflows.finish import give_up
from medferry.workflows.judge import judge_run
from medferry_airflow.definition import current_migration
from medferry_airflow.params import options_among
from medferry_airflow.preparing import check_medplum
from medferry_airflow.tasks.environment import environment
from medferry_airflow.turn import in_turn

log = logging.getLogger(__name__)

Interval = tuple[datetime | None, datetime | None]
"""The data interval of a DAG run."""


def anything(run: str, wave: str, chosen: Mapping[str, Any], interval: Interval) -> bool:
    """Whether the period has any record."""
    period = _period(wave, *interval)
    create_manifest(environment().settings.manifest_url)
    check_systems(environment(), options_among(chosen, RunOptions).dry_run)
    found = anything_in_period(environment(), run, _scope(wave, chosen), period)
    log.info("Period %s: there is %s to load.", period, "something" if found else "nothing")
    return found


def prepare(
    run: str, wave: str, chosen: Mapping[str, Any], interval: Interval, dag_run: Any
) -> tuple[str, list[SliceRow]]:
    """(id, slices) of the run of the period, its leases taken. Waits its turn."""
    period, scope = _period(wave, *interval), _scope(wave, chosen)
    options = options_among(chosen, RunOptions)
    if not options.dry_run:
        check_medplum(scope.entities, options)
    create_manifest(environment().settings.manifest_url)
    judge_run(environment(), run, scope.entities, options.dry_run)
    return in_turn(environment(), run, options, dag_run, partial(_prepared, run, wave, scope, period, options))


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


def _scope(wave: str, chosen: Mapping[str, Any]) -> RunScope:
    migration = current_migration()
    return scope_of(migration, migration.plan.units_of_wave(wave), chosen.get("entities"))


def _period(wave: str, start: datetime | None, end: datetime | None) -> Period:
    history = current_migration().plan.wave(wave).history
    assert history is not None and start is not None and end is not None
    return period_between(history, _day(start), _day(end), datetime.now(UTC).date())


def _day(time: datetime) -> date:
    return datetime.fromtimestamp(time.timestamp(), UTC).date()
