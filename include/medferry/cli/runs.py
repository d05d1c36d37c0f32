"""Look at runs: `report`, `runs`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from medferry.cli.terminal import (
    MigrationOption,
    RunArgument,
    chosen_run,
    console,
    environment_of,
    report_errors,
    show_report,
)
from medferry.manifest.turns import waiting_runs
from medferry.report.overview import summaries
from medferry.workflows.readiness import readiness

runs_app = typer.Typer()


@runs_app.command()
@report_errors
def report(
    run_id: RunArgument = None,
    migration: MigrationOption = "clinics",
    folder: Annotated[Path, typer.Option(help="Where the report goes.")] = Path("build/reports"),
    waves: Annotated[
        list[str] | None,
        typer.Option("--readiness", help="Ask every gate of this wave's cutover now, for the report; repeatable."),
    ] = None,
) -> None:
    """Write the reconciliation report (JSON and HTML) of a run and print its table."""
    environment = environment_of(migration)
    asked = {wave: readiness(environment, wave) for wave in waves or ()}
    show_report(environment, chosen_run(environment, run_id), folder, asked)


@runs_app.command("runs")
@report_errors
def list_runs(
    migration: MigrationOption = "clinics",
    limit: Annotated[int, typer.Option(min=1, help="Runs at most.")] = 50,
    cuts: Annotated[bool, typer.Option("--cuts", help="With the cuts of the synchronisation.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List the newest runs of a migration, newest first."""
    environment = environment_of(migration)
    with environment.manifest.begin() as connection:
        found = summaries(connection, environment.migration.name, limit, cuts)
        waiting = waiting_runs(connection, environment.migration.name)
    if as_json:
        typer.echo(json.dumps([one.as_json() for one in found], indent=2))
        return
    table = Table("run", "kind", "dry", "verdict", "state", "started", "finished", "units")
    table.columns[0].no_wrap = True  # an id is of use as a whole
    for one in found:
        run, verdict = one.run, one.verdict.text() if one.judged else ""
        times = (run.started_at[:19], (run.finished_at or "")[:19])
        table.add_row(run.id, run.kind, "dry" if one.dry else "", verdict, one.state, *times, ", ".join(run.units))
    console.print(table)
    for run_id in waiting:
        console.print(f"waits for its turn: {run_id}", soft_wrap=True)
