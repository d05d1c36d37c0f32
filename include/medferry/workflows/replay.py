"""The dead letters of a run, carried out again as a run of their own."""

from __future__ import annotations

from functools import partial

from medferry.manifest.checks import CheckResult
from medferry.manifest.dead_letters import Choice
from medferry.runtime.environment import Environment
from medferry.runtime.options import RunOptions
from medferry.runtime.systems import check_systems
from medferry.runtime.turn import in_turn
from medferry.stages.replay import prepare_replay
from medferry.workflows.migrate import Progress, RunInOneProcess, carry_out


def execute_replay(
    environment: Environment, run_id: str, replays: str | None, choice: Choice, options: RunOptions, progress: Progress
) -> list[CheckResult]:
    """As ``execute_run`` for the dead letters of a run (None: the newest).

    No result and no run when there are none to replay.
    """
    check_systems(environment, options.dry_run)
    slices = in_turn(
        environment, run_id, options, partial(prepare_replay, environment, run_id, replays, choice, options)
    )
    return carry_out(RunInOneProcess(environment, run_id, slices, progress)) if slices else []
