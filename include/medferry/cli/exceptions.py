"""Decide what verification found: `exceptions list`, `exceptions decide`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from medferry.cli.terminal import (
    FREE_TEXT,
    MigrationOption,
    RunArgument,
    console,
    environment_of,
    group_with_default,
    newest_run,
    report_errors,
)
from medferry.governance.verdict import verdict_of
from medferry.manifest.exceptions import ACCEPTED, OPEN, ExceptionRow, exceptions_of
from medferry.manifest.runs import get_run
from medferry.workflows.decide import decide

exceptions_app = typer.Typer(
    cls=group_with_default("list"),
    help="What verification found, and what was decided about it. `list` is the default.",
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
    action: Annotated[str | None, typer.Option(help=f"What is to be done. {FREE_TEXT}")] = None,
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
