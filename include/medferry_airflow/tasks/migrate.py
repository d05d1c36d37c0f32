"""Tasks that carry a run out: prepare, extract, transform, load, conclude; and what a replay begins with.

Here as in the other files of tasks each imports what it calls when it runs: Airflow reads these files with every DAG
file, again and again.
"""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import TaskInstanceState, task

from medferry.errors import MedferryError
from medferry.workflows.order import READERS
from medferry_airflow.assets import WAVES, Milestone
from medferry_airflow.guard import guarded
from medferry_airflow.lineage import tell_run, tell_slice
from medferry_airflow.names import POOL
from medferry_airflow.tasks.environment import environment, publish_report

log = logging.getLogger(__name__)

SLICE_LABEL = "{{ task.op_kwargs['slice_id'] }}"


class RunIncomplete(MedferryError):
    """A step of the run failed, so the run cannot be proven."""


class TaskEnded(MedferryError):
    """Airflow has ended this task already: its run was marked as failed or succeeded before the task began to work."""


@task(pool=POOL)
@guarded
def prepare(
    run: str,
    kind: str,
    units: list[str] | None = None,
    params: dict[str, Any] | None = None,
    dag_run: Any = None,
) -> list[str]:
    """Count what is eligible, cut it into slices, take the leases; returns the slice ids."""
    from medferry_airflow.preparing import prepare_new

    return [one.id for one in prepare_new(run, kind, units, params or {}, dag_run)]


@task.short_circuit
@guarded
def find_dead_letters(run: str, params: dict[str, Any] | None = None) -> bool:
    """Whether there is anything to replay; if not, everything after this is skipped and no run is made."""
    from medferry.stages.replay import anything_to_replay
    from medferry_airflow.preparing import letters

    chosen = params or {}
    found = anything_to_replay(environment(), run, chosen.get("run"), letters(chosen))
    log.info("There is %s to replay.", "something" if found else "nothing")
    return found


@task(task_id="prepare", pool=POOL)
@guarded
def prepare_again(run: str, params: dict[str, Any] | None = None, dag_run: Any = None) -> list[str]:
    """Cut the dead letters' keys into slices and take the leases; returns the slice ids."""
    from medferry_airflow import preparing

    return [one.id for one in preparing.prepare_again(run, params or {}, dag_run)]


@task
@guarded
def slices_of_level(run: str, level: int) -> list[str]:
    """The ids of the slices to load at one level of the reference graph; none of a sample, which loads nothing."""
    from medferry.manifest import runs

    with environment().manifest.begin() as connection:
        if runs.get_run(connection, run).options.get("sample") is not None:
            return []
        return [one.id for one in runs.slices_of(connection, run) if one.level == level]


@task(map_index_template=SLICE_LABEL, max_active_tis_per_dagrun=READERS)
@guarded
def extract(run: str, slice_id: str, ti: Any = None) -> int:
    """Stage the rows of one slice of the legacy database; returns their number."""
    from medferry.manifest.runs import SliceStage
    from medferry.stages.extract import extract_slice

    require_running(ti)
    rows = extract_slice(environment(), run, slice_id)
    tell_slice(ti, environment(), run, slice_id, SliceStage.EXTRACTED)
    return rows


@task(map_index_template=SLICE_LABEL, multiple_outputs=False)
@guarded
def transform(run: str, slice_id: str, ti: Any = None) -> dict[str, int]:
    """Map one staged slice to validated FHIR Bundles; returns the rows by disposition."""
    from medferry.manifest.runs import SliceStage
    from medferry.stages.transform import transform_slice

    require_running(ti)
    counts = transform_slice(environment(), run, slice_id)
    tell_slice(ti, environment(), run, slice_id, SliceStage.TRANSFORMED)
    return counts


@task(map_index_template=SLICE_LABEL, pool=POOL, trigger_rule="none_failed", multiple_outputs=False)
@guarded
def load(run: str, slice_id: str, ti: Any = None) -> dict[str, int]:
    """Bring one staged slice into Medplum and read it back; returns the source records by disposition.

    A dry run judges its references instead.
    """
    from medferry.manifest.runs import SliceStage
    from medferry.stages.load import load_slice

    require_running(ti)
    counts = load_slice(environment(), run, slice_id)
    tell_slice(ti, environment(), run, slice_id, SliceStage.LOADED)
    return counts


@task(outlets=[WAVES])
@guarded
def conclude(run: str, ti: Any = None, dag_run: Any = None, outlet_events: Any = None) -> None:
    """Record the run's end, give back its leases, write its report; fail unless every step and every check is good."""
    from medferry.workflows.finish import finish_run
    from medferry_airflow.milestones import tell_milestone

    states = ti.get_task_states(ti.dag_id, run_ids=[dag_run.run_id])[dag_run.run_id]
    missing = incomplete(states)
    try:
        finish_run(environment(), run, failed=bool(missing))
    finally:
        publish_report(run)
        tell_run(ti, environment(), run)
    if missing:
        raise RunIncomplete(
            f"Run {run} is not complete: {', '.join(missing[:5])} ({len(missing)} in all). What was loaded stays in "
            "Medplum and in the manifest; the leases are given back.",
            "See the errors of these tasks, remove the cause, clear the failed tasks with those downstream: "
            "the run goes on where it stopped.",
        )
    tell_milestone(environment(), run, Milestone.PROVEN, outlet_events)


def incomplete(states: dict[str, str | None]) -> list[str]:
    """What failed or could not run among a DAG run's task states; prepare and verify must have succeeded."""
    bad = {
        name for name, state in states.items() if state in (TaskInstanceState.FAILED, TaskInstanceState.UPSTREAM_FAILED)
    }
    needed = {name for name in ("prepare", "verify") if states.get(name) != TaskInstanceState.SUCCESS}
    return [f"{name} ({states.get(name) or 'did not run'})" for name in sorted(bad | needed)]


def require_running(ti: Any) -> None:
    """Raises TaskEnded where Airflow says that the task instance `ti`, which is this one, does not run.

    A run that is marked as failed is concluded at once. A task of it that had just been started would take back the
    leases that `conclude` has given back, and be killed with them at its next heartbeat. Between this question and the
    leases lie milliseconds, between the mark and the end of `conclude` seconds.
    """
    states = ti.get_task_states(ti.dag_id, map_index=ti.map_index, task_ids=[ti.task_id], run_ids=[ti.run_id])
    (state,) = states[ti.run_id].values()
    if state != TaskInstanceState.RUNNING:
        raise TaskEnded(
            f"Airflow has this task as {state}: its run was marked, or the task was, before it began. It did nothing.",
            "Nothing, where this was wished. Else clear the task with those downstream.",
        )
