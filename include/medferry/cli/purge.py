"""Patient data that no run needs any more: `purge`."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from medferry.cli.terminal import MigrationOption, console, environment_of, report_errors
from medferry.manifest.purges import PurgeReason, purges_of
from medferry.runtime.environment import Environment
from medferry.workflows.purge import Found, find, purge

purge_app = typer.Typer()
_LEDGER_LINES = 50


@purge_app.command("purge")
@report_errors
def purge_data(
    migration: MigrationOption = "clinics",
    apply: Annotated[
        bool, typer.Option("--apply", help="Remove what would be removed; without it nothing is.")
    ] = False,
    abandon: Annotated[
        list[str] | None,
        typer.Option(help="Give this run up, though it may go on: what it has staged goes, too; repeatable."),
    ] = None,
    charts: Annotated[Path, typer.Option(help="Where charts were drawn.")] = Path("build/charts"),
    done: Annotated[bool, typer.Option("--done", help="Show what was removed before, the newest first.")] = False,
) -> None:
    """Show staged files and charts, and which would be removed; with --apply remove those. Shows no patient data.

    What a run has staged goes when it is proven, or when a later run has begun in its scope; a dry run's when it has
    ended; charts when they are old enough. The plan's `retention` says for how many days each is kept after that.
    Nothing goes that a run needs to go on.
    """
    environment = environment_of(migration)
    if done:
        console.print(_ledger(environment))
        return
    found = find(environment, charts, abandon or ())
    if not found:
        console.print("Nothing is staged, and no charts are there.")
        return
    gone = [one for one in found if isinstance(one.outcome, PurgeReason)]
    if apply:
        gone = list(purge(environment, found, getpass.getuser()))
    console.print(_table(found, "removed" if apply else "would be removed"))
    files, size = sum(one.files for one in gone), sum(one.bytes for one in gone)
    told = f"{len(gone)} of {len(found)} folders, {files:,} files, {size / 1e6:,.1f} MB"
    console.print(f"{told} removed." if apply else f"{told} would be removed. Nothing was changed: --apply removes.")


def _table(found: list[Found], otherwise: str) -> Table:
    table = Table()
    for name in ("folder", "files", "MB", "", "because"):
        table.add_column(name, overflow="fold", justify="right" if name in ("files", "MB") else "left")
    for one in found:
        word = otherwise if isinstance(one.outcome, PurgeReason) else "kept"
        table.add_row(Text(one.folder), f"{one.files:,}", f"{one.bytes / 1e6:,.1f}", word, str(one.outcome))
    return table


def _ledger(environment: Environment) -> Table:
    table = Table("when", "folder", "files", "MB", "because", "by")
    with environment.manifest.begin() as connection:
        lines = purges_of(connection, environment.migration.name, _LEDGER_LINES)
    for line in lines:
        when = line.done_at or f"{line.begun_at}, not ended"
        amount = f"{line.files:,}", f"{line.bytes / 1e6:,.1f}"
        table.add_row(when, escape(line.folder), *amount, line.reason, escape(line.person))
    return table
