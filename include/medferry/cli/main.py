"""The command line: for the mapping author at work and for operators without Airflow."""

from __future__ import annotations

import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.markup import escape
from rich.table import Table

from medferry.cli.operate import operate_app
from medferry.cli.review import charts_app, exceptions_app
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
    RunArgument,
    SliceRowsOption,
    StopAtShareOption,
    TakeOverOption,
    console,
    environment_of,
    newest_run,
    report_errors,
    show_report,
)
from medferry.definition.checks import load_checks
from medferry.definition.migration import Migration
from medferry.errors import MedferryError
from medferry.governance.verdict import verdict_of
from medferry.manifest import runs
from medferry.mapping.apply import MappedRow
from medferry.report.checks_table import checks_table
from medferry.report.write import write_report
from medferry.runtime.environment import Environment
from medferry.runtime.options import LoadMode, RunOptions
from medferry.source.database import snapshot, stream
from medferry.source.entity import SourceEntity
from medferry.source.profile import profile
from medferry.source.slices import Key, count_by_unit, row_by_key, rows_of
from medferry.stages.prepare import scope_of
from medferry.stages.transform import map_row
from medferry.verification.run import verify_run
from medferry.verification.scope import Sampling
from medferry.workflows.finish import settle
from medferry.workflows.migrate import execute_run

# A pretty traceback may show local variables, and they may hold patient data.
app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Move a legacy SQL health platform to Medplum.",
)
plan_app = typer.Typer(no_args_is_help=True, help="Look at a migration's plan.")
source_app = typer.Typer(no_args_is_help=True, help="Look at the legacy database.")
app.add_typer(plan_app, name="plan")
app.add_typer(source_app, name="source")
app.add_typer(operate_app)
app.add_typer(exceptions_app, name="exceptions")
app.add_typer(charts_app, name="charts")


@plan_app.command("check")
@report_errors
def plan_check(migration: MigrationOption = "clinics") -> None:
    """Check plan, entities, mappings, checks and code tables; with a source configured, its units and keys too."""
    environment = environment_of(migration)
    loaded = environment.migration
    load_checks(loaded)
    table = Table(title=f"{loaded.plan.title} ({loaded.name}, {loaded.plan.strategy})", title_justify="left")
    for name in ("level", "entity", "produces", "refers to", "mapping", "owner", "rows"):
        table.add_column(name, justify="right" if name == "rows" else "left")
    counts = _source_counts(environment)
    for level, entities in enumerate(loaded.levels):
        for name in entities:
            spec = loaded.specs[name]
            produced, referred = ", ".join(spec.produces.values()), ", ".join(spec.references)
            version = f"{spec.version} {spec.status}"
            table.add_row(str(level), name, produced, referred, version, spec.owner, counts.get(name, ""))
    console.print(table)
    for wave in loaded.plan.waves:
        console.print(f"wave [bold]{wave.id}[/] {wave.title}: {', '.join(loaded.plan.units_of_wave(wave.id))}")
    if not counts:
        console.print("The source was not looked at: set MEDFERRY_SOURCE_URL to check its units and keys as well.")


def _source_counts(environment: Environment) -> dict[str, str]:
    if not environment.settings.source_url:
        return {}
    counts = {}
    with snapshot(environment.source) as connection:
        for name, entity in environment.migration.entities.items():
            by_unit = count_by_unit(connection, entity, environment.migration.plan.unit_ids)
            counts[name] = f"{sum(by_unit.values()):,}"
    return counts


@source_app.command("profile")
@report_errors
def source_profile(
    entity: str,
    migration: MigrationOption = "clinics",
    values: Annotated[bool, typer.Option(help="Show the commonest values. They may be patient data.")] = False,
) -> None:
    """Count what each column of an entity holds: nulls, blanks, kinds, lengths, distinct values."""
    environment = environment_of(migration)
    definition = _entity(environment.migration, entity)
    statement, bound = rows_of(
        environment.source.dialect.name, definition, environment.migration.plan.unit_ids, None, None
    )
    with snapshot(environment.source) as connection:
        columns = profile(stream(connection, statement, bound))
    table = Table(title=f"{definition.title} ({entity})", title_justify="left")
    for name in (
        "column",
        "rows",
        "nulls",
        "blanks",
        "distinct",
        "longest",
        "kinds",
        *(["commonest"] if values else []),
    ):
        table.add_column(name, justify="left" if name in ("column", "kinds", "commonest") else "right")
    for column in columns:
        kinds = ", ".join(f"{kind} {number}" for kind, number in column.kinds.most_common())
        distinct = f"{'≥' if column.distinct_is_more else ''}{column.distinct}"
        cells = [column.name, column.rows, column.nulls, column.blanks, distinct, column.longest, kinds]
        common = ", ".join(f"{text[:30]} ×{number}" for text, number in column.values.most_common(5))
        table.add_row(*(escape(str(cell)) for cell in (*cells, *([common] if values else []))))
    console.print(table)


@app.command("try")
@report_errors
def try_row(
    entity: str,
    key: Annotated[str, typer.Option("--key", "-k", help="The row's source key.")],
    migration: MigrationOption = "clinics",
) -> None:
    """Map one row and show it beside its resources and problems. Writes nothing; shows patient data."""
    environment = environment_of(migration)
    definition = _entity(environment.migration, entity)
    row = _find_row(environment, definition, key)
    mapped = map_row(environment.migration.specs[entity], definition, row, environment.migration.settings)
    left, right = Table(title="source row", title_justify="left"), Table(title="becomes", title_justify="left")
    left.add_column("column")
    left.add_column("value", overflow="fold")
    for name, value in row.items():
        left.add_row(name, "[dim]null[/]" if value is None else escape(_shown(value)))
    right.add_column(_outcome(mapped), overflow="fold")
    for resource in mapped.resources:
        right.add_row(escape(orjson.dumps(resource, option=orjson.OPT_INDENT_2).decode()))
        right.add_section()
    for found in mapped.findings:
        right.add_row(f"finding: {found.reason} {found.field}")
    both = Table.grid(padding=(0, 2), expand=True)
    both.add_column(ratio=2)
    both.add_column(ratio=3)
    both.add_row(left, right)
    console.print(both)
    if mapped.disposition in ("rejected", "quarantined"):
        raise typer.Exit(2)


def _shown(value: Any) -> str:
    text = str(value).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= 200 else f"{text[:200]}… ({len(text):,} characters)"


def _outcome(mapped: MappedRow) -> str:
    said = "ready to load" if mapped.disposition == "pending" else mapped.disposition
    return " ".join(part for part in (said, mapped.reason, mapped.field, escape(mapped.place)) if part)


def _entity(migration: Migration, name: str) -> SourceEntity:
    if name not in migration.entities:
        raise MedferryError(f"There is no entity {name}.", f"Choose one of {', '.join(sorted(migration.entities))}.")
    return migration.entities[name]


def _find_row(environment: Environment, entity: SourceEntity, key: str) -> dict[str, Any]:
    """The row of that key, tried as text and as a number (engines do not compare the two)."""
    candidates: list[Key] = [key, int(key)] if key.isdigit() else [key]
    for candidate in candidates:
        statement, bound = row_by_key(environment.source.dialect.name, entity, candidate)
        try:
            with snapshot(environment.source) as connection:
                found = next(stream(connection, statement, bound), None)
        except MedferryError:
            continue
        if found is not None:
            return found
    raise MedferryError(f"{entity.name} has no row with the key {key}.", "Check the key, or the entity's SQL.")


@app.command()
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


@app.command()
@report_errors
def verify(
    run_id: RunArgument = None,
    migration: MigrationOption = "clinics",
    sample_share: Annotated[
        float, typer.Option(min=0.000_001, max=1, help="Share of the rows whose values are compared.")
    ] = 1.0,
    seed: Annotated[
        int, typer.Option(min=0, max=2**31 - 1, help="Of the sample: the same seed takes the same rows.")
    ] = 0,
    validate_all: Annotated[
        bool, typer.Option("--validate-all", help="Send every resource to $validate (20 points each), not a sample.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", "--anew", help="Begin again, also when one that died could go on.")
    ] = False,
    report_folder: ReportFolderOption = Path("build/reports"),
) -> None:
    """Compare a run with the legacy database and Medplum again; writes to neither. The run gets its status by it."""
    environment = environment_of(migration)
    run_id = run_id or newest_run(environment)
    choice = Sampling(sample_share=sample_share, seed=seed, validate_all=validate_all)
    compared: Counter[str] = Counter()
    with console.status("verifying") as status:

        def tell(entity: str, resources: int) -> None:
            compared[entity] += resources
            status.update(f"verifying {entity}: {compared[entity]:,} resources")

        results = verify_run(
            environment, run_id, lambda entity: status.update(f"verifying {entity}"), choice, force, tell
        )
    console.print(checks_table(results, run_id))
    with environment.manifest.begin() as connection:
        settle(connection, run_id)
        verdict = verdict_of(connection, run_id)
    paths = write_report(environment, run_id, report_folder / run_id)
    console.print(f"{verdict.text()}\nreport: {paths.html}", soft_wrap=True)
    verdict.require(run_id)


@app.command()
@report_errors
def report(
    run_id: RunArgument = None,
    migration: MigrationOption = "clinics",
    folder: Annotated[Path, typer.Option(help="Where the report goes.")] = Path("build/reports"),
) -> None:
    """Write the reconciliation report (JSON and HTML) of a run and print its table."""
    environment = environment_of(migration)
    show_report(environment, run_id or newest_run(environment), folder)


@app.command("runs")
@report_errors
def list_runs(migration: MigrationOption = "clinics") -> None:
    """List the runs of a migration, newest first."""
    environment = environment_of(migration)
    table = Table("run", "kind", "status", "started", "finished", "units")
    with environment.manifest.begin() as connection:
        for row in runs.list_runs(connection, environment.migration.name):
            table.add_row(row.id, row.kind, _status(row), row.started_at, row.finished_at or "", ", ".join(row.units))
    console.print(table)


def _status(row: runs.RunRow) -> str:
    """The status, with what an operator wishes of a run at work."""
    wished = {"pause": "paused", "abort": "aborting"}.get(row.wish) if row.status == "running" else None
    return wished or row.status


if __name__ == "__main__":
    sys.exit(app(prog_name="medferry"))
