"""The systems that a manifest belongs to: `systems`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from medferry.cli.terminal import MigrationOption, console, environment_of, report_errors
from medferry.runtime.known_keys import accept_keys
from medferry.runtime.systems import accept_systems, look_at_systems

systems_app = typer.Typer()


@systems_app.command()
@report_errors
def systems(
    migration: MigrationOption = "clinics",
    accept: Annotated[
        bool, typer.Option("--accept", help="From now on the manifest belongs to the systems as they are.")
    ] = False,
    accepted_keys: Annotated[
        list[str] | None,
        typer.Option("--accept-keys", metavar="ENTITY", help="Its keys are those under which it was loaded."),
    ] = None,
) -> None:
    """Show which systems and identifiers the manifest belongs to, and which these are; exit 1 if one is another.

    Accept another only when it is the same under a new name (a project that was moved, an address that changed, a
    migration that was renamed), when identifiers that are new are of other records, or when a legacy database was
    failed over or restored for good: what the manifest knows of ids and files is kept as it is.

    The keys of an entity (`Rekeyed`) are accepted by its name, and only when each row has the value that it had: a
    column or a table was renamed. By other values the rows would be written over each other's resources.
    """
    environment = environment_of(migration)
    if accepted_keys:
        accept_keys(environment, accepted_keys)
    if accept:
        accept_systems(environment)
    found = look_at_systems(environment)
    table = Table("system", "the manifest knows", "now", "")
    for state in found:
        table.add_row(state.name, escape(state.known or "nothing yet"), escape(state.present), state.problem)
    console.print(table)
    if any(state.problem for state in found):
        console.print("Correct the settings, or accept with --accept what is the same under another name.")
        raise typer.Exit(1)
