"""A whole run in one go, as the command line does it: the acts of ``order``, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from medferry.errors import VerificationFailed
from medferry.manifest.checks import CheckResult
from medferry.manifest.database import create_manifest
from medferry.manifest.runs import SliceRow
from medferry.manifest.slice_lock import SliceBusy
from medferry.plan.periods import Period
from medferry.runtime.environment import Environment, own_run
from medferry.runtime.gc_tuning import rare_collections
from medferry.runtime.options import RunOptions
from medferry.runtime.turn import in_turn
from medferry.stages.by_period import prepare_period
from medferry.stages.foresee import foresee_slice
from medferry.stages.load import load_session
from medferry.stages.prepare import RunScope, prepare_run
from medferry.verification.run import verify_run
from medferry.workflows.finish import finish_run
from medferry.workflows.judge import judge_run
from medferry.workflows.order import migrate
from medferry.workflows.parallel_staging import stage_slices

Progress = Callable[[str, str, int, int], None]
"""Called with (stage, entity, rows done in this step, rows in all of the stage)."""


def execute_run(
    environment: Environment, run_id: str, kind: str, scope: RunScope, options: RunOptions, progress: Progress
) -> list[CheckResult]:
    """Prepare, stage, load, verify, finish. Safe to call again with the same `run_id`, which keeps its options.

    Raises what the stages raise; the leases are given back in any case. VerificationFailed comes last.
    """
    create_manifest(environment.settings.manifest_url)
    judge_run(environment, run_id, scope.entities, options.dry_run)
    slices = in_turn(environment, run_id, options, partial(prepare_run, environment, run_id, kind, scope, options))
    return carry_out(RunInOneProcess(environment, run_id, slices, progress))


def execute_period(
    environment: Environment,
    run_id: str,
    kind: str,
    scope: RunScope,
    period: Period,
    options: RunOptions,
    progress: Progress,
) -> bool:
    """The same for one period of a scope; False, and no run is made, when there is nothing in it."""
    create_manifest(environment.settings.manifest_url)
    judge_run(environment, run_id, scope.entities, options.dry_run)
    slices = in_turn(
        environment, run_id, options, partial(prepare_period, environment, run_id, kind, scope, period, options)
    )
    if slices:
        carry_out(RunInOneProcess(environment, run_id, slices, progress))
    return bool(slices)


@dataclass
class RunInOneProcess:
    """The acts of a prepared run, carried out at once; only staging takes further processes."""

    environment: Environment
    run_id: str
    slices: list[SliceRow]
    progress: Progress
    results: list[CheckResult] = field(default_factory=list)

    def stage(self) -> None:
        with rare_collections():
            stage_slices(self.environment, self.run_id, self.slices, self._tell)

    def load(self, _staged: None = None) -> None:
        run, options = own_run(self.environment, self.run_id)
        if options.dry_run:
            for slice_ in self.slices:
                foresee_slice(self.environment, run, options, slice_.id, partial(self._tell, "references"))
            return
        with load_session(self.environment, run, options) as session:
            session.load([slice_.id for slice_ in self.slices], partial(self._tell, "load"))

    def verify(self, _loaded: None = None) -> None:
        self.results = verify_run(
            self.environment, self.run_id, lambda entity, parts: self.progress("verify", entity, 1, parts)
        )

    def conclude(self, _verified: None = None) -> None:
        finish_run(self.environment, self.run_id)

    def _tell(self, stage: str, entity: str, rows: int) -> None:
        self.progress(stage, entity, rows, sum(slice_.eligible for slice_ in self.slices))


def carry_out(run: RunInOneProcess) -> list[CheckResult]:
    """From a prepared run to its conclusion, however it ends; returns what the verification found."""
    try:
        migrate(run)
    except SliceBusy:
        raise  # the run is at work in another process: it is not ours to end
    except VerificationFailed:
        raise  # it has ended
    except BaseException:
        finish_run(run.environment, run.run_id, failed=True)
        raise
    return run.results
