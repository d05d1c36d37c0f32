"""Migrate: `run`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from medferry.cli.terminal import (
    Bars,
    BatchSizeOption,
    DryRunOption,
    MigrationOption,
    ModeOption,
    MostLanesOption,
    OverwriteOption,
    ReportFolderOption,
    ReservePointsOption,
    SliceRowsOption,
    StopAtShareOption,
    TakeOverOption,
    environment_of,
    report_errors,
    show_report,
)
from medferry.errors import MedferryError
from medferry.manifest import runs
from medferry.runtime.options import LoadMode, RunOptions
from medferry.stages.prepare import scope_of
from medferry.workflows.migrate import execute_run

run_app = typer.Typer()


@run_app.command()
@report_errors
def run(
    migration: MigrationOption = "clinics",
    wave: Annotated[str | None, typer.Option(help="Only the units of this wave.")] = None,
    unit: Annotated[list[str] | None, typer.Option(help="Only this unit (and the shared ones); repeatable.")] = None,
    entity: Annotated[list[str] | None, typer.Option(help="Only this entity; repeatable.")] = None,
    resume: Annotated[str | None, typer.Option(help="Go on with this run instead of starting one.")] = None,
    dry_run: DryRunOption = False,
    batch_size: BatchSizeOption = 200,
    lanes: MostLanesOption = 4,
    load_mode: ModeOption = LoadMode.LOOKUP,
    sample: Annotated[int | None, typer.Option(min=1, help="Rows of each slice; with --dry-run.")] = None,
    slice_rows: SliceRowsOption = 5_000,
    reserve_points: ReservePointsOption = 0,
    stop_at_share: StopAtShareOption = 0.5,
    overwrite: OverwriteOption = False,
    take_over: TakeOverOption = False,
    report_folder: ReportFolderOption = Path("build/reports"),
) -> None:
    """Migrate: everything, a wave, or chosen units. Running it again changes nothing that is right already."""
    environment = environment_of(migration)
    if sample is not None and not dry_run:
        raise MedferryError("A sample is for a dry run.", "Add --dry-run.")
    options = RunOptions(
        dry_run=dry_run,
        batch_size=batch_size,
        lanes=lanes,
        load_mode=load_mode,
        sample=sample,
        slice_rows=slice_rows,
        reserve_points=reserve_points,
        stop_at_share=stop_at_share,
        overwrite=overwrite,
        take_over=take_over,
    )
    plan = environment.migration.plan
    if wave is not None and wave not in {one.id for one in plan.waves}:
        raise MedferryError(f"The plan has no wave {wave}.", f"Its waves: {', '.join(w.id for w in plan.waves)}.")
    if resume:
        with environment.manifest.begin() as connection:
            runs.get_run(connection, resume)
    kind = f"wave_{wave}" if wave else "run"
    run_id = resume or f"{kind}.{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"
    scope = scope_of(environment.migration, plan.units_of_wave(wave) if wave else unit, entity)
    try:
        with Bars() as tell:
            execute_run(environment, run_id, kind, scope, options, tell)
    finally:
        show_report(environment, run_id, report_folder)
