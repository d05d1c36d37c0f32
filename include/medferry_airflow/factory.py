"""Builds the DAGs. The order of a migration is that of ``medferry.workflows.order``, drawn as tasks:

    prepare → stage (extract → transform, for each slice) → load_level_0 → load_level_1 → … → verify → conclude

`conclude` is the teardown of `prepare`: it runs when everything between them has ended, also when a step failed or an
operator marked the run as failed, so that the leases are given back. It records the end, writes the report, and alone
decides the colour of the DAG run: it is never green over a step that is not.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, Param, TaskGroup, task, task_group
from airflow.sdk.definitions.callback import SyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference
from airflow.timetables.base import Timetable
from airflow.timetables.interval import CronDataIntervalTimetable

from medferry.definition.outline import Outline
from medferry.manifest.kinds import RunKind
from medferry.plan.model import Every, History, Plan, Sync, Wave
from medferry.workflows.order import migrate
from medferry_airflow.addresses import RunLink
from medferry_airflow.conf import refuse_unknown_conf
from medferry_airflow.definition import Served
from medferry_airflow.page import broken_page, page
from medferry_airflow.params import (
    control_params,
    history_params,
    panic_params,
    replay_params,
    run_params,
    unit_param,
    verify_params,
)
from medferry_airflow.retries import DEFAULT_ARGS
from medferry_airflow.tasks import control, history, panic, verify
from medferry_airflow.tasks import migrate as run_tasks
from medferry_airflow.tasks import sync as sync_tasks

TAGS = frozenset(
    {"medferry", "big bang", "wave", "verification", "replay", "control", "sync", "history", "cutover", "broken"}
)
"""All tags that a DAG may have, beside its migration's name where several are served."""

RUN = "{{ dag.dag_id }}.{{ dag_run.run_id }}"
"""The manifest's id of the run that a DAG run makes: the same in every try."""

PREPARED = f"{{{{ ti.xcom_pull(task_ids='prepare', key='{history.RUN_KEY}') }}}}"
"""The id of the run that `prepare` has chosen, where that is not always the same."""

_CRON = {Every.MONTH: "0 0 1 * *", Every.YEAR: "0 0 1 1 *"}
NEVER = date(3000, 1, 1)
"""From here on the scheduler runs a history by itself. Backfills need a schedule, and take no notice of this."""


def big_bang_dag(text: str, served: Served) -> DAG:
    """A DAG that migrates the units chosen in the trigger form, or all, in one run."""
    return _migration_dag("big_bang", RunKind.BIG_BANG, "Big bang: everything in one run", text, served)


def wave_dag(wave: Wave, text: str, served: Served) -> DAG:
    """A DAG that migrates the units of a wave in one run."""
    title = f"Wave {wave.id}: {wave.title}" if wave.title else f"Wave {wave.id}"
    return _migration_dag(f"wave_{wave.id}", RunKind.WAVE, title, text, served, wave)


def _migration_dag(word: str, kind: RunKind, title: str, text: str, served: Served, wave: Wave | None = None) -> DAG:
    if served.error:
        return broken_dag(word, title, text, served)
    plan = served.outline.plan
    units = plan.units_of_wave(wave.id) if wave else None
    text = page(text, served, units or plan.unit_ids)
    choice = {} if wave else unit_param(served.outline)
    params = {**choice, **run_params(served.outline)}
    with new_dag(served, word, title, text, [kind.replace("_", " ")], params) as dag:
        migrate(RunInTasks(run_tasks.prepare(RUN, str(kind), units), served.outline))
    return dag


def replay_dag(text: str, served: Served) -> DAG:
    """A DAG that runs the dead letters of an earlier run again, as a run of their own; skipped when there are none."""
    title = "Replay dead letters"
    if served.error:
        return broken_dag("replay", title, text, served)
    text = page(text, served, served.outline.plan.unit_ids)
    with new_dag(served, "replay", title, text, ["replay"], replay_params(served)) as dag:
        found: Any = run_tasks.find_dead_letters(RUN)
        prepared: Any = run_tasks.prepare_again(RUN)
        found >> prepared
        migrate(RunInTasks(prepared, served.outline))
    return dag


@dataclass(frozen=True)
class RunInTasks:
    """The acts of a prepared run as tasks, drawn into the present DAG. `prepared` gives the ids of the slices."""

    prepared: Any
    migration: Outline
    run: str = RUN

    def stage(self) -> Any:
        return _stage(self.prepared, self.run)

    def load(self, staged: Any) -> Any:
        last = staged
        for number, entities in enumerate(self.migration.levels):
            last = _load_level(number, entities, self, last)
        return last

    def verify(self, loaded: Any) -> Any:
        verified = verify.verify(self.run)
        loaded >> verified
        return verified

    def conclude(self, verified: Any) -> None:
        concluded: Any = run_tasks.conclude(self.run)
        for one in (self.prepared, concluded):
            one.operator.operator_extra_links = (RunLink(),)
        verified >> concluded.as_teardown(setups=self.prepared, on_failure_fail_dagrun=True)


def _stage(slice_ids: Any, run: str) -> Any:
    """Extract and transform each slice."""

    @task_group(group_id="stage", tooltip="Legacy rows to validated FHIR Bundles, slice by slice")
    def stage(slice_id: str) -> None:
        run_tasks.extract(run=run, slice_id=slice_id) >> run_tasks.transform(run=run, slice_id=slice_id)

    return stage.expand(slice_id=slice_ids)


def _load_level(number: int, entities: Sequence[str], of: RunInTasks, before: Any) -> TaskGroup:
    """Load the slices of one level, when all of the level before are loaded; a level without slices is passed over."""
    label = f"load {number}: {', '.join(entities[:2])}" + (f" +{len(entities) - 2}" if len(entities) > 2 else "")
    tooltip = f"To Medplum: {', '.join(entities)}"
    with TaskGroup(f"load_level_{number}", group_display_name=label, tooltip=tooltip) as group:
        # A task for each level, that only reads the manifest: Airflow maps over what a task returns, and over no other
        # value of it, so that `prepare` cannot hand each level a list of its own.
        slice_ids = run_tasks.slices_of_level.override(task_id="slices")(of.run, number)
        described = run_tasks.load.override(doc_md=inspect.getdoc(run_tasks.load.function))  # lost by `partial`
        loaded = described.partial(run=of.run).expand(slice_id=slice_ids)
    of.prepared >> slice_ids
    before >> loaded
    return group


NIGHTLY, OFF = "0 3 * * *", "off"
"""When `verify` runs by itself where a wave is kept in step; and what says that it shall not."""


def verify_schedule(plan: Plan) -> str | None:
    """When `verify` runs by itself: the cron expression or preset in MEDFERRY_VERIFY_SCHEDULE.

    By default nightly where the plan keeps a wave in step, else never.
    """
    asked = os.environ.get("MEDFERRY_VERIFY_SCHEDULE", "").strip()
    in_step = any(wave.sync is not None for wave in plan.waves)
    return (NIGHTLY if in_step else None) if not asked else None if asked == OFF else asked


def verify_dag(text: str, served: Served) -> DAG:
    """A DAG that verifies everything that was loaded, or a finished run, again; also by itself on a schedule.

    It writes to the manifest and the report only. A schedule that Airflow does not understand raises its own error.
    """
    title = "Verify again"
    if served.error:
        return broken_dag("verify", title, text, served)
    plan = served.outline.plan
    text, schedule = page(text, served, plan.unit_ids), verify_schedule(plan)
    with new_dag(served, "verify", title, text, ["verification"], verify_params(), schedule) as dag:
        chosen: Any = verify.choose_run()
        verified: Any = verify.verify_again(chosen)
        verify.conclude_verification(chosen, verified)
    return dag


def control_dag(text: str, served: Served) -> DAG:
    """A DAG that tells the workers of a run to pause, to go on or to end. It writes to the manifest only."""
    return _brake("control", "Pause, resume or abort a run", text, served, control_params(), control.control)


def panic_dag(text: str, served: Served) -> DAG:
    """A DAG that stops the writing of all waves, or lets it begin again."""
    return _brake("panic", "Stop the writing of all waves", text, served, panic_params(), panic.panic)


def _brake(
    word: str, title: str, text: str, served: Served, params: dict[str, Param], act: Callable[[], object]
) -> DAG:
    """A DAG of one task, which does no more than tell."""
    if served.error:
        return broken_dag(word, title, text, served)
    text = page(text, served, served.outline.plan.unit_ids)
    with new_dag(served, word, title, text, ["control"], params) as dag:
        act()
    return dag


def sync_dag(wave: Wave, sync: Sync, text: str, served: Served) -> DAG:
    """A DAG that keeps a wave in step, interval by interval; missed intervals are caught up one by one."""
    word, title = f"sync_{wave.id}", f"Sync of wave {wave.id}"
    if served.error:
        return broken_dag(word, title, text, served)
    text = page(text, served, served.outline.plan.units_of_wave(wave.id))
    # Not the trigger timetable that Airflow makes of a text by default: its intervals are points.
    every = CronDataIntervalTimetable(sync.schedule, timezone="UTC")
    with new_dag(served, word, title, text, ["sync"], {}, every, since=sync.since) as dag:
        dag.deadline = _deadlines(served.id_of(wave.id), dag.dag_id, sync)
        forward = sync_tasks.sync(wave.id, sync.tail_seconds)
        if sync.reverse:
            forward >> sync_tasks.reverse(wave.id, sync.tail_seconds)
    return dag


def _deadlines(wave: str, dag_id: str, sync: Sync) -> list[DeadlineAlert] | None:
    """That a run is over in time since it was queued, not since its interval: what is caught up is not late."""
    if sync.max_lag_seconds is None:
        return None
    within = timedelta(seconds=sync.tail_seconds + sync.max_lag_seconds)
    told = SyncCallback("medferry_airflow.late.tell_late", kwargs={"wave": wave})
    return [DeadlineAlert(DeadlineReference.DAGRUN_QUEUED_AT, within, told, name=f"{dag_id} is late")]


def history_dag(wave: Wave, plan: History, text: str, served: Served) -> DAG:
    """A DAG that loads a wave by months or years, each by a run of its own; only backfills begin it."""
    word, title = f"history_{wave.id}", f"History of wave {wave.id}, by backfill"
    if served.error:
        return broken_dag(word, title, text, served)
    text, params = page(text, served, served.outline.plan.units_of_wave(wave.id)), history_params(served.outline)
    every = CronDataIntervalTimetable(_CRON[plan.every], timezone="UTC")
    with new_dag(served, word, title, text, ["history"], params, every, since=NEVER, by_hand=False) as dag:
        found: Any = history.find_records(RUN, wave.id)
        prepared: Any = history.prepare_of_period(RUN, wave.id)
        found >> prepared
        migrate(RunInTasks(prepared, served.outline, PREPARED))
    return dag


def broken_dag(word: str, title: str, text: str, served: Served) -> DAG:
    """A DAG whose page shows what is wrong with the migration, and whose task fails with it."""
    error = served.error
    assert error is not None
    with new_dag(served, word, f"{title} (cannot be read)", broken_page(text, error), ["broken"], {}) as dag:

        @task(pre_execute=None)  # whatever the conf says, what is wrong with the migration comes first
        def broken_migration() -> None:
            """Fail with what is wrong with the migration's files."""
            raise error

        broken_migration()
    return dag


def new_dag(
    served: Served,
    word: str,
    title: str,
    text: str,
    tags: Sequence[str],
    params: dict[str, Any],
    schedule: str | Timetable | None = None,
    since: date | None = None,
    by_hand: bool = True,
) -> DAG:
    """The only place where a DAG is made, so that each has the retry policy, the check of its conf, and an id that says
    of which migration it is.

    `word`: the id that it has where there is but one migration. `since`: the intervals from this day on are caught up.
    Not `by_hand`: Airflow refuses a run without an interval.
    """
    return DAG(
        served.id_of(word),
        dag_display_name=served.title_of(title),
        description=served.title_of(title),
        schedule=schedule,
        start_date=datetime(since.year, since.month, since.day, tzinfo=UTC) if since else None,
        catchup=since is not None and by_hand,
        max_active_runs=1,
        allowed_run_types=None if by_hand else ["scheduled", "backfill"],  # type: ignore[list-item]
        doc_md=text,
        tags=["medferry", *tags, *([] if served.alone else [served.name])],
        params=params,
        default_args={**DEFAULT_ARGS, "pre_execute": refuse_unknown_conf},
    )
