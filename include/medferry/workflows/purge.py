"""Remove patient data that no run needs any more: what was staged, and charts that were drawn.

A run needs what it has staged until it is proven, or until it may not go on: a later run has begun in its scope, or
somebody gave it up. A dry run's Bundles are there to be looked at. All of them are kept for the plan's retention; so
are charts, and the values of conflicts that are over. Each removal is written down before it is begun, and again when
it is done.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from medferry.charts.pages import DrawnCharts, drawn_charts, remove_charts
from medferry.errors import MedferryError
from medferry.manifest import leases, runs
from medferry.manifest.conflict_values import drop_values, kept_names, values_over
from medferry.manifest.purges import PurgeReason, begin_purge, day_before, end_purge, runs_of_folder
from medferry.manifest.runs import RunRow, RunStatus
from medferry.runtime.continuing import is_dry
from medferry.runtime.environment import Environment
from medferry.runtime.staging import StagedFolder, folder_of
from medferry.runtime.systems import check_staging
from medferry.store.values import FOLDER, Pointer

log = logging.getLogger(__name__)

KILLED_AFTER_DAYS = 1
"""What has no lease that would tell is taken for killed by then: a dry run without an end, a value without a line."""

_BY_A_PERSON = frozenset({PurgeReason.NO_RUN, PurgeReason.NO_CONFLICT})
"""What no manifest tells of is never removed by itself."""


class Kept(StrEnum):
    """Why a folder is left as it is."""

    AT_WORK = "the run is at work"
    UNFINISHED = "the run may still go on"
    OTHER_MIGRATION = "it is of another migration"
    FOREIGN = "it holds files that no run has staged"
    RETENTION = "the plan keeps it for some days more"


class NotAbandoned(MedferryError):
    """A run cannot be given up."""


@dataclass(frozen=True, slots=True)
class Found:
    """A folder with what becomes of it, and how to remove it."""

    folder: str
    files: int
    bytes: int
    outcome: PurgeReason | Kept
    remove: Callable[[], None]


def find(
    environment: Environment, charts: Path | None, abandoned: Sequence[str] = (), retired: Collection[str] = ()
) -> list[Found]:
    """Every folder of staged files, and of charts below `charts`, with what becomes of it. Changes nothing.

    `abandoned` are runs that are given up though they may go on; of runs whose units are all `retired` nothing is kept.
    Raises OtherSystem, StagingError; UnknownRun,
    NotAbandoned when one of them is at work.
    """
    check_staging(environment)
    staged = environment.staging_area.folders()  # before the runs are read: each folder's run is there, then
    with environment.manifest.begin() as connection:
        for run_id in abandoned:
            _may_be_abandoned(connection, environment, run_id)
        found = [_judged(connection, environment, folder, abandoned, retired) for folder in staged]
    return (
        found + _conflicts(environment) + _left_behind(environment) + (_charts(environment, charts) if charts else [])
    )


def purge(environment: Environment, found: Sequence[Found], person: str) -> Iterator[Found]:
    """Remove what `find` has found to be removable; each folder is returned when it is gone. Raises StagingError."""
    migration = environment.migration.name
    for one in found:
        if not isinstance(one.outcome, PurgeReason):
            continue
        with environment.manifest.begin() as connection:
            sizes = (one.files, one.bytes)
            number = begin_purge(connection, migration, one.folder, one.outcome, sizes, person)
        one.remove()
        with environment.manifest.begin() as connection:
            end_purge(connection, number)
        yield one


def purge_after(environment: Environment, run_id: str) -> None:
    """At the end of a proven run: remove what is over by the plan. A failure is told in the log, and fails nothing."""
    try:
        found = [one for one in find(environment, None) if one.outcome not in _BY_A_PERSON]
        for one in purge(environment, found, f"run {run_id}"):
            log.info("Removed what was staged in %s (%d files): %s.", one.folder, one.files, one.outcome)
    except MedferryError as error:
        log.warning("What was staged could not be removed: %s", error)


def _judged(
    connection: sa.Connection,
    environment: Environment,
    folder: StagedFolder,
    abandoned: Sequence[str],
    retired: Collection[str],
) -> Found:
    judged = [_outcome(connection, environment, run, abandoned, retired) for run in _runs(connection, folder)]
    kept = [outcome for outcome in judged if isinstance(outcome, Kept)]
    outcome = Kept.FOREIGN if folder.foreign else next(iter([*kept, *judged]), PurgeReason.NO_RUN)
    size = sum(folder.sizes.values())
    return Found(folder.name, len(folder.sizes), size, outcome, lambda: environment.staging_area.remove(folder))


def _runs(connection: sa.Connection, folder: StagedFolder) -> list[RunRow]:
    return runs_of_folder(connection, folder.name, folder_of)


def _outcome(
    connection: sa.Connection,
    environment: Environment,
    run: RunRow,
    abandoned: Sequence[str],
    retired: Collection[str],
) -> PurgeReason | Kept:
    if run.migration != environment.migration.name:
        return Kept.OTHER_MIGRATION
    if leases.alive(connection, run.id):
        return Kept.AT_WORK
    if run.id in abandoned:
        return PurgeReason.ABANDONED
    reason = _dry(connection, run) if is_dry(run) else _real(connection, run)
    if run.units and {*run.units} <= {*retired} and reason is not Kept.AT_WORK:
        return PurgeReason.RETIRED
    kept_since = day_before(connection, environment.migration.plan.retention.staged)
    if isinstance(reason, PurgeReason) and (run.finished_at or run.started_at) > kept_since:
        return Kept.RETENTION
    return reason


def _dry(connection: sa.Connection, run: RunRow) -> PurgeReason | Kept:
    if run.finished_at is None and run.started_at > day_before(connection, KILLED_AFTER_DAYS):
        return Kept.AT_WORK
    return PurgeReason.REHEARSED


def _real(connection: sa.Connection, run: RunRow) -> PurgeReason | Kept:
    if run.status in (RunStatus.SUCCEEDED, RunStatus.APPLIED):
        return PurgeReason.PROVEN
    return PurgeReason.SUPERSEDED if runs.first_later_run(connection, run) else Kept.UNFINISHED


def _may_be_abandoned(connection: sa.Connection, environment: Environment, run_id: str) -> None:
    run = runs.get_run(connection, run_id)
    if run.migration != environment.migration.name:
        raise NotAbandoned(f"Run {run_id} is of the migration {run.migration}.", "Name that migration.")
    if leases.alive(connection, run_id):
        raise NotAbandoned(
            f"Run {run_id} is at work, or was until a few minutes ago.",
            "Abort it (`medferry control`), or wait until its leases have run out (15 minutes), then again.",
        )


def _conflicts(environment: Environment) -> list[Found]:
    """The values of conflicts that are over, as one folder: they lie in files without a name that tells."""
    migration, values = environment.migration, environment.values
    with environment.manifest.begin() as connection:
        since = day_before(connection, migration.plan.retention.conflicts)
        over = values_over(connection, migration.name, since)
    pointers = [Pointer(*kept) for one in over for kept in one.values.values()]

    def remove() -> None:
        for one in over:
            for kept in one.values.values():
                values.remove(Pointer(*kept))
            with environment.manifest.begin() as connection:
                drop_values(connection, one)

    size = sum(values.size(pointer) for pointer in pointers)
    return [Found(FOLDER, len(pointers), size, PurgeReason.CONFLICTS, remove)] if pointers else []


def _left_behind(environment: Environment) -> list[Found]:
    """Values that were kept for a conflict whose line a kill came before, as one folder."""
    values, manifest = environment.values, environment.manifest

    def known() -> set[str]:
        with manifest.begin() as connection:
            return kept_names(connection)

    before = datetime.now(UTC) - timedelta(days=KILLED_AFTER_DAYS)
    left = values.left_behind(known, before)
    remove = partial(values.remove_left_behind, [*left])
    return [Found(FOLDER, len(left), sum(left.values()), PurgeReason.NO_CONFLICT, remove)] if left else []


def _charts(environment: Environment, root: Path) -> list[Found]:
    def found(drawn: DrawnCharts) -> Found:
        over = drawn.age_days > environment.migration.plan.retention.charts
        outcome = PurgeReason.CHARTS if over else Kept.RETENTION
        return Found(str(drawn.folder), len(drawn.pages), drawn.bytes, outcome, lambda: remove_charts(drawn))

    return [found(drawn) for drawn in drawn_charts(root)]
