"""Migrate: `run`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from medferry.cli.flags import with_options
from medferry.cli.terminal import (
    Bars,
    MigrationOption,
    ReportFolderOption,
    environment_of,
    report_errors,
    show_report,
)
from medferry.errors import MedferryError
from medferry.manifest import runs
from medferry.runtime.options import RunOptions
from medferry.stages.prepare import RunScope, scope_of
from medferry.workflows.migrate import execute_run

run_app = typer.Typer()


@run_app.command()
@report_errors
@with_options(RunOptions)
def run(
    migration: MigrationOption = "clinics",
    wave: Annotated[str | None, typer.Option(help="Only the units of this wave.")] = None,
    unit: Annotated[list[str] | None, typer.Option(help="Only this unit (and the shared ones); repeatable.")] = None,
    entity: Annotated[list[str] | None, typer.Option(help="Only this entity; repeatable.")] = None,
    resume: Annotated[str | None, typer.Option(help="Go on with this run, by its own options.")] = None,
    *,
    options: RunOptions,
    report_folder: ReportFolderOption = Path("build/reports"),
) -> None:
    """Migrate: everything, a wave, or chosen units. Running it again changes nothing that is right already."""
    environment = environment_of(migration)
    plan = environment.migration.plan
    waves = [known.id for known in plan.waves]
    if wave is not None and wave not in waves:
        raise MedferryError(f"The plan has no wave {wave}.", f"Its waves: {', '.join(waves)}.")
    kind = f"{runs.RunKind.WAVE}_{wave}" if wave else runs.RunKind.WHOLE
    run_id = resume or f"{kind}.{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"
    scope = scope_of(environment.migration, plan.units_of_wave(wave) if wave else unit, entity)
    if resume:
        with environment.manifest.begin() as connection:
            found = runs.get_run(connection, resume)
        scope = scope if wave or unit or entity else RunScope(found.units, found.entities)
    try:
        with Bars() as tell:
            execute_run(environment, run_id, kind, scope, options, tell)
    finally:
        show_report(environment, run_id, report_folder)
