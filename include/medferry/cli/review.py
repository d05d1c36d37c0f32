"""The reviewer's commands of the command line: decide exceptions, draw charts, record what a review came to."""

from __future__ import annotations

import re
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from medferry.charts.sample import Wanted
from medferry.charts.write import INDEX, write_charts
from medferry.cli.terminal import MigrationOption, RunArgument, console, environment_of, newest_run, report_errors
from medferry.governance.verdict import verdict_of
from medferry.manifest.charts import AGREES, DIFFERS, charts_of
from medferry.manifest.exceptions import ACCEPTED, OPEN, ExceptionRow, exceptions_of
from medferry.manifest.runs import get_run
from medferry.workflows.decide import decide, review


class Outcome(StrEnum):
    """Of a chart's review."""

    AGREES = AGREES
    DIFFERS = DIFFERS


_FREE = "Free text: it is kept in the manifest and shown in the report, so it must hold no patient data."


def _with_default(name: str) -> type[TyperGroup]:
    """A group whose command `name` is meant when none is named, so that `medferry exceptions RUN` lists."""

    class Group(TyperGroup):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            if not args or (args[0] not in self.commands and args[0] != "--help"):
                args = [name, *args]
            return super().parse_args(ctx, args)

    return Group


exceptions_app = typer.Typer(
    cls=_with_default("list"), help="What verification found, and what was decided about it. `list` is the default."
)


@exceptions_app.command("list")
@report_errors
def list_exceptions(run_id: RunArgument = None, migration: MigrationOption = "clinics") -> None:
    """List the exceptions of a run: open ones first. Exits 1 while one is open."""
    environment = environment_of(migration)
    run_id = run_id or newest_run(environment)
    with environment.manifest.begin() as connection:
        get_run(connection, run_id)
        rows, verdict = exceptions_of(connection, run_id), verdict_of(connection, run_id)
    table = Table(title=f"exceptions of {run_id}: {verdict.text()}", title_justify="left")
    for name in ("id", "check", "entity", "severity", "different", "unchecked", "decision", "approver", "owner", "due"):
        table.add_column(name, justify="right" if name in ("id", "different", "unchecked") else "left", overflow="fold")
    for one in rows:
        table.add_row(*_cells(one))
    console.print(table)
    if any(one.decision == OPEN for one in rows):
        console.print("decide: medferry exceptions decide ID --decision accepted --approver … --action …")
        raise typer.Exit(1)


def _cells(one: ExceptionRow) -> tuple[str, ...]:
    colour = {OPEN: "red", ACCEPTED: "yellow"}.get(one.decision, "green")
    numbers = (f"{one.different:,}", f"{one.unchecked:,}")
    people = (escape(one.approver), escape(one.owner), one.due)
    return str(one.id), one.family, one.entity, one.severity, *numbers, f"[{colour}]{one.decision}[/]", *people


@exceptions_app.command("decide")
@report_errors
def decide_exception(
    exception_id: Annotated[int, typer.Argument(metavar="ID", help="As `medferry exceptions` lists it.")],
    migration: MigrationOption = "clinics",
    decision: Annotated[
        str | None, typer.Option(help="open or accepted. `fixed` is what a verification finds.")
    ] = None,
    approver: Annotated[str, typer.Option(help="Who answers for the acceptance; needed to accept.")] = "",
    action: Annotated[str | None, typer.Option(help=f"What is to be done. {_FREE}")] = None,
    owner: Annotated[str | None, typer.Option(help="Who does it.")] = None,
    due: Annotated[str | None, typer.Option(help="Until when, YYYY-MM-DD.")] = None,
) -> None:
    """Decide about one exception, exactly as it was found; what is not given stays. Earlier decisions are kept."""
    environment = environment_of(migration)
    row = decide(environment, exception_id, decision, approver, owner, action, due)
    counts = f"{row.different:,} different, {row.unchecked:,} unchecked"
    console.print(f"{row.id} {row.family} of {row.entity} ({counts}): {row.decision}", soft_wrap=True)
    with environment.manifest.begin() as connection:
        verdict = verdict_of(connection, row.run_id)
    console.print(f"{row.run_id}: {verdict.text()}", soft_wrap=True)


charts_app = typer.Typer(
    cls=_with_default("draw"),
    help="Whole charts for clinicians to review. They hold patient data. `draw` is the default.",
)


@charts_app.command("draw")
@report_errors
def draw_charts(
    run_id: RunArgument = None,
    migration: MigrationOption = "clinics",
    patients: Annotated[int, typer.Option(min=0, max=1000, help="Charts drawn at random.")] = 5,
    risk: Annotated[int, typer.Option(min=0, max=1000, help="Charts in which errors hide or harm most.")] = 5,
    key: Annotated[list[str] | None, typer.Option("--key", "-k", help="This patient's source key; repeatable.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the random charts: the same seed draws the same.")] = 0,
    folder: Annotated[
        Path, typer.Option(help="Where the pages go, in a folder of the run's; only its owner may read them.")
    ] = Path("build/charts"),
) -> None:
    """Write a page for each chosen patient: legacy rows and Medplum side by side, read anew. PATIENT DATA."""
    environment = environment_of(migration)
    run_id = run_id or newest_run(environment)
    wanted = Wanted(tuple(key or ()), patients, risk, seed)
    place = folder / re.sub(r"[^A-Za-z0-9._-]", "_", run_id)
    with console.status("drawing charts"):
        charts = write_charts(environment, run_id, wanted, place)
    table = Table("chart", "key", "why", "items", "with differences")
    for number, chart in enumerate(charts, start=1):
        differing = sum(item.differs for item in chart.items)
        table.add_row(str(number), escape(chart.key), chart.why, str(len(chart.items)), str(differing))
    console.print(table)
    console.print(f"patient data: {place / INDEX}", soft_wrap=True)


@charts_app.command("record")
@report_errors
def record_chart(
    run_id: str,
    key: Annotated[str, typer.Argument(help="The patient's source key.")],
    reviewer: Annotated[str, typer.Option(help="Who looked.")],
    outcome: Annotated[Outcome, typer.Option(help="What it came to. While the newest review differs, the run fails.")],
    finding: Annotated[str, typer.Option(help=f"What was found; needed when it differs. {_FREE}")] = "",
    migration: MigrationOption = "clinics",
) -> None:
    """Record the review of a chart that was drawn; earlier ones are kept."""
    environment = environment_of(migration)
    review(environment, run_id, key, reviewer, outcome.value, finding)
    with environment.manifest.begin() as connection:
        counts = Counter(one.outcome or "not yet reviewed" for one in charts_of(connection, run_id))
        verdict = verdict_of(connection, run_id)
    said = ", ".join(f"{number} {name}" for name, number in sorted(counts.items()))
    console.print(f"charts of {run_id}: {said}; {verdict.text()}", soft_wrap=True)
