"""Control a run at work: `pause`, `resume`, `abort`."""

from __future__ import annotations

import typer

from medferry.cli.terminal import (
    MigrationOption,
    console,
    environment_of,
    report_errors,
)
from medferry.runtime import control

control_app = typer.Typer()


@control_app.command()
@report_errors
def pause(run_id: str, migration: MigrationOption = "clinics") -> None:
    """Pause a run at work: each worker finishes its chunk, then waits; leases are kept."""
    control.pause(environment_of(migration), run_id)
    console.print(f"{run_id} pauses after the chunks in flight.", soft_wrap=True)


@control_app.command()
@report_errors
def resume(run_id: str, migration: MigrationOption = "clinics") -> None:
    """Let a paused run go on."""
    control.resume(environment_of(migration), run_id)
    console.print(f"{run_id} goes on within seconds.", soft_wrap=True)


@control_app.command()
@report_errors
def abort(run_id: str, migration: MigrationOption = "clinics") -> None:
    """End a run at work: each worker finishes its chunk, then stops; a new run goes on from there."""
    control.abort(environment_of(migration), run_id)
    console.print(f"{run_id} ends after the chunks in flight.", soft_wrap=True)
