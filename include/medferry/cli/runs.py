"""Look at runs: `report`, `runs`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from medferry.cli.terminal import (
    MigrationOption,
    RunArgument,
    console,
    environment_of,
    newest_run,
    report_errors,
    show_report,
)
from medferry.manifest import runs

runs_app = typer.Typer()


@runs_app.command()
@report_errors
def report(
    run_id: RunArgument = None,
    migration: MigrationOption = "clinics",
    folder: Annotated[Path, typer.Option(help="Where the report goes.")] = Path("build/reports"),
) -> None:
    """Write the reconciliation report (JSON and HTML) of a run and print its table."""
    environment = environment_of(migration)
    show_report(environment, run_id or newest_run(environment), folder)


@runs_app.command("runs")
@report_errors
def list_runs(
    migration: MigrationOption = "clinics",
    limit: Annotated[int, typer.Option(min=1, help="Runs at most.")] = 50,
) -> None:
    """List the newest runs of a migration, newest first."""
    environment = environment_of(migration)
    table = Table("run", "kind", "status", "started", "finished", "units")
    with environment.manifest.begin() as connection:
        for row in runs.list_runs(connection, environment.migration.name, limit):
            table.add_row(row.id, row.kind, _status(row), row.started_at, row.finished_at or "", ", ".join(row.units))
    console.print(table)


_CONTROLLED: dict[str, str] = {runs.Control.PAUSE: "paused", runs.Control.ABORT: "aborting"}


def _status(row: runs.RunRow) -> str:
    """The status, or what an operator has made of a run at work."""
    controlled = _CONTROLLED.get(row.control) if row.status == runs.RunStatus.RUNNING else None
    return controlled or row.status
