"""Decide what verification found: `exceptions list`, `exceptions decide`."""

from __future__ import annotations

from typing import Annotated

import sqlalchemy as sa
import typer
from rich.markup import escape
from rich.table import Table

from medferry.cli.terminal import (
    FREE_TEXT,
    MigrationOption,
    RunArgument,
    chosen_run,
    console,
    environment_of,
    group_with_default,
    report_errors,
)
from medferry.errors import MedferryError
from medferry.governance.verdict import Verdict, verdict_of, verdict_of_verification
from medferry.manifest.exceptions import ExceptionRow, ExceptionState, exceptions_found_by, exceptions_of
from medferry.manifest.runs import get_run
from medferry.workflows.decide import decide

exceptions_app = typer.Typer(
    cls=group_with_default("list"),
    help="What verification found, and what was decided about it. `list` is the default.",
)


@exceptions_app.command("list")
@report_errors
def list_exceptions(
    run_id: RunArgument = None,
    migration: MigrationOption = "clinics",
    verification: Annotated[
        int | None,
        typer.Option(help="Of a verification of no run, by the id that `medferry verify` shows."),
    ] = None,
) -> None:
    """List the exceptions of a run, or of a verification: open ones first. Exits 1 while one is open."""
    environment = environment_of(migration)
    if verification is not None and run_id is not None:
        raise MedferryError("A run and a verification were named.", "Name one of them.")
    holder = f"verification {verification}" if verification is not None else chosen_run(environment, run_id)
    with environment.manifest.begin() as connection:
        if verification is not None:
            rows = exceptions_found_by(connection, verification)
            verdict = verdict_of_verification(connection, verification)
        else:
            get_run(connection, holder)
            rows, verdict = exceptions_of(connection, holder), verdict_of(connection, holder)
    table = Table(title=f"exceptions of {holder}: {verdict.text()}", title_justify="left")
    for name in ("id", "check", "entity", "severity", "different", "unchecked", "decision", "approver", "owner", "due"):
        table.add_column(name, justify="right" if name in ("id", "different", "unchecked") else "left", overflow="fold")
    for row in rows:
        table.add_row(*_cells(row))
    console.print(table)
    if any(row.decision == ExceptionState.OPEN for row in rows):
        console.print("decide: medferry exceptions decide ID --decision accepted --approver … --action …")
        raise typer.Exit(1)


_COLOURS: dict[str, str] = {ExceptionState.OPEN: "red", ExceptionState.ACCEPTED: "yellow"}


def _cells(row: ExceptionRow) -> tuple[str, ...]:
    colour = _COLOURS.get(row.decision, "green")
    numbers = (f"{row.different:,}", f"{row.unchecked:,}")
    people = (escape(row.approver), escape(row.owner), row.due)
    return str(row.id), row.family, row.entity, row.severity, *numbers, f"[{colour}]{row.decision}[/]", *people


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
        verdict = _verdict_on(connection, row)
    holder = row.run_id or f"verification {row.verification_id}"
    console.print(f"{holder}: {verdict.text()}", soft_wrap=True)


def _verdict_on(connection: sa.Connection, row: ExceptionRow) -> Verdict:
    """Of the run, or of the verification, that an exception is of."""
    if row.run_id is not None:
        return verdict_of(connection, row.run_id)
    return verdict_of_verification(connection, row.verification_id or 0)
