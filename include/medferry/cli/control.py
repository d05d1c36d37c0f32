"""Control a run at work: `pause`, `resume`, `abort`."""

from __future__ import annotations

from typing import Annotated

import typer

from medferry.cli.terminal import (
    MigrationOption,
    console,
    environment_of,
    report_errors,
)
from medferry.runtime import control

control_app = typer.Typer()

RunAtWork = Annotated[
    str | None, typer.Argument(help="Run, by its id or its DAG run's in Airflow; the only one at work by default.")
]


@control_app.command()
@report_errors
def pause(run_id: RunAtWork = None, migration: MigrationOption = "clinics") -> None:
    """Pause a run at work: each worker finishes its chunk, then waits; leases are kept."""
    environment = environment_of(migration)
    run = control.controlled_run(environment, run_id)
    control.pause(environment, run)
    console.print(f"{run} pauses after the chunks in flight.", soft_wrap=True)


@control_app.command()
@report_errors
def resume(run_id: RunAtWork = None, migration: MigrationOption = "clinics") -> None:
    """Let a paused run go on."""
    environment = environment_of(migration)
    run = control.controlled_run(environment, run_id)
    control.resume(environment, run)
    console.print(f"{run} goes on within seconds.", soft_wrap=True)


@control_app.command()
@report_errors
def abort(run_id: RunAtWork = None, migration: MigrationOption = "clinics") -> None:
    """End a run at work: each worker finishes its chunk, then stops; a new run goes on from there."""
    environment = environment_of(migration)
    run = control.controlled_run(environment, run_id)
    control.abort(environment, run)
    console.print(f"{run} ends after the chunks in flight.", soft_wrap=True)
