"""Finish a run: give back its leases, set its status, and fail unless it is proven."""

from __future__ import annotations

from medferry.errors import VerificationFailed
from medferry.manifest import leases, runs
from medferry.manifest.checks import checks_of
from medferry.manifest.runs import RunRow
from medferry.stages.environment import Environment
from medferry.stages.wishes import ABORT
from medferry.verification.run import require_equal


def finish_run(environment: Environment, run_id: str, failed: bool = False) -> None:
    """End the run. `failed` tells that an earlier step did not succeed.

    Raises VerificationFailed when a check is not "equal", or when the run was never verified.
    """
    with environment.manifest.begin() as connection:
        run = runs.find_run(connection, run_id)
        if run is None:
            return  # refused before anything was written: nothing to give back
        results = checks_of(connection, run_id)
        proven = bool(results) and all(result.status == "equal" for result in results)
        runs.finish_run(connection, run_id, _status(run, proven and not failed))
        leases.release(connection, run_id)
    if failed:
        return
    if not results:
        raise VerificationFailed(f"Run {run_id} was not verified.", "Run its verification, then finish it.")
    require_equal(results)


def _status(run: RunRow, proven: bool) -> str:
    """A run that was proven before its worker looked at the wish to abort it has succeeded."""
    if proven:
        return "succeeded"
    return "aborted" if run.wish == ABORT else "failed"
