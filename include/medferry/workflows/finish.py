"""Finish a run: give back its leases, set its status, and fail unless it is proven."""

from __future__ import annotations

import sqlalchemy as sa

from medferry.errors import LeaseHeld
from medferry.governance.verdict import verdict_of
from medferry.manifest import leases, runs
from medferry.manifest.runs import Control, RunRow, RunStatus
from medferry.runtime.continuing import NotContinued, may_continue
from medferry.runtime.environment import Environment
from medferry.workflows.purge import purge_after


def finish_run(environment: Environment, run_id: str, failed: bool = False) -> None:
    """End the run; what was staged and is over by the plan's retention goes when it is proven.

    `failed` tells that an earlier step did not succeed.
    A run that has ended and may not go on, of which a task was cleared, was refused: it is left as it was.
    Raises VerificationFailed when it was never verified, or a check is neither "equal" nor an accepted exception.
    """
    with environment.manifest.begin() as connection:
        run = runs.find_run(connection, run_id)
        if run is None:
            return  # refused before anything was written: nothing to give back
        verdict = verdict_of(connection, run_id)
        refused = failed and run.finished_at and not may_continue(connection, environment.migration, run)
        if not refused:
            runs.finish_run(connection, run_id, _status(run, verdict.passed and not failed))
        leases.release(connection, run_id)
    if verdict.passed and not failed and not verdict.dry_run:  # a dry run's Bundles are there to be looked at
        purge_after(environment, run_id)
    if not failed:
        verdict.require(run_id)


def give_up(environment: Environment, run_id: str, error: BaseException) -> None:
    """End a run that could not be prepared, unless the `error` is that it was refused: then it is left as it was."""
    if not isinstance(error, NotContinued | LeaseHeld):
        finish_run(environment, run_id, failed=True)


def settle(connection: sa.Connection, run_id: str) -> None:
    """Bring the status of a run that has ended to its verdict, which a verification or a decision may have changed."""
    run, verdict = runs.get_run(connection, run_id), verdict_of(connection, run_id)
    status = RunStatus.SUCCEEDED if verdict.passed else RunStatus.FAILED
    if verdict.results and run.status in (RunStatus.SUCCEEDED, RunStatus.FAILED) and run.status != status:
        runs.finish_run(connection, run_id, status)


def _status(run: RunRow, proven: bool) -> RunStatus:
    """A run that was proven before its worker looked at the order to abort it has succeeded."""
    if proven:
        return RunStatus.SUCCEEDED
    return RunStatus.ABORTED if run.control == Control.ABORT else RunStatus.FAILED
