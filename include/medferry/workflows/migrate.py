"""A whole run in one process, as the command line does it; the DAGs spread the same calls over tasks."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from medferry.manifest.checks import CheckResult
from medferry.manifest.dead_letters import Choice
from medferry.manifest.runs import SliceRow
from medferry.manifest.workers import SliceBusy
from medferry.runtime.environment import Environment, own_run
from medferry.runtime.gc_tuning import rare_collections
from medferry.runtime.options import RunOptions
from medferry.stages.extract import extract_slice
from medferry.stages.load import load_session
from medferry.stages.prepare import RunScope, prepare_run
from medferry.stages.replay import prepare_replay
from medferry.stages.transform import transform_slice
from medferry.verification.run import verify_run
from medferry.workflows.finish import finish_run

Progress = Callable[[str, str, int, int], None]
"""Called with (stage, entity, rows done in this step, rows in all of the stage)."""


def execute_run(
    environment: Environment, run_id: str, kind: str, scope: RunScope, options: RunOptions, progress: Progress
) -> list[CheckResult]:
    """Prepare, extract, transform, load, verify, finish. Safe to call again with the same `run_id`.

    Raises what the stages raise; the leases are given back in any case. VerificationFailed comes last.
    """
    slices = prepare_run(environment, run_id, kind, scope, options)
    return _carry_out(environment, run_id, slices, options, progress)


def execute_replay(
    environment: Environment, run_id: str, replays: str | None, choice: Choice, options: RunOptions, progress: Progress
) -> list[CheckResult]:
    """The same for the dead letters of a run (None: the newest); no result and no run when there are none to replay."""
    slices = prepare_replay(environment, run_id, replays, choice, options)
    return _carry_out(environment, run_id, slices, options, progress) if slices else []


def _carry_out(
    environment: Environment, run_id: str, slices: list[SliceRow], options: RunOptions, progress: Progress
) -> list[CheckResult]:
    entities = {one.entity for one in slices}
    try:
        with rare_collections():
            _stage_and_load(environment, run_id, slices, options, progress)
        results = verify_run(environment, run_id, lambda entity: progress("verify", entity, 1, len(entities)))
    except SliceBusy:
        raise  # the run is at work in another process: it is not ours to end
    except BaseException:
        finish_run(environment, run_id, failed=True)
        raise
    finish_run(environment, run_id)
    return results


def _stage_and_load(
    environment: Environment, run_id: str, slices: list[SliceRow], options: RunOptions, progress: Progress
) -> None:
    """Stage slice by slice, and load meanwhile what is staged."""
    total = sum(one.eligible for one in slices)

    def stage(one: SliceRow) -> None:
        progress("extract", one.entity, extract_slice(environment, run_id, one.id), total)
        transform_slice(environment, run_id, one.id)
        progress("transform", one.entity, one.eligible, total)

    with ThreadPoolExecutor(1) as stager:
        staged = {one.id: stager.submit(stage, one) for one in slices}
        try:
            if not options.dry_run:
                load_slices(environment, run_id, slices, total, progress, lambda slice_id: staged[slice_id].result())
            for one in staged.values():
                one.result()
        except BaseException:
            stager.shutdown(wait=False, cancel_futures=True)
            raise


def load_slices(
    environment: Environment,
    run_id: str,
    slices: list[SliceRow],
    total: int,
    progress: Progress,
    ready: Callable[[str], object] = lambda _: None,
) -> None:
    """Load slices side by side, each as soon as `ready(id)` returns and all that it refers to is loaded."""
    with load_session(environment, *own_run(environment, run_id)) as crew:
        crew.load([one.id for one in slices], lambda entity, rows: progress("load", entity, rows, total), ready)
