"""What a backfill would set off in Medplum: `side-effects`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from medferry.cli.terminal import MigrationOption, console, environment_of, report_errors
from medferry.errors import OptionError
from medferry.manifest.switched_off import Switch
from medferry.workflows.side_effects import disable, look, restore

side_effects_app = typer.Typer()


@side_effects_app.command("side-effects")
@report_errors
def side_effects(
    migration: MigrationOption = "clinics",
    off: Annotated[
        bool, typer.Option("--disable", help="Switch off what the plan says, before the first load.")
    ] = False,
    on: Annotated[bool, typer.Option("--restore", help="Switch on again what --disable has switched off.")] = False,
    by: Annotated[str, typer.Option(help="Who answers for it; needed to disable or restore.")] = "",
) -> None:
    """List the Subscriptions in Medplum that what the migration writes would fire, with what the plan says of each.

    Ends with 1 while one of them is not as somebody has decided.
    """
    environment = environment_of(migration)
    if off and on:
        raise OptionError("--disable and --restore contradict each other.", "Give one of them.")
    if off or on:
        for place in disable(environment, by) if off else restore(environment, by):
            console.print(f"{place}: {Switch.OFF if off else Switch.RESTORED}")
        return
    found = look(environment)
    if not found:
        console.print("No Subscription that this client sees would fire.")
        return
    table = Table(title="What a load would set off", title_justify="left")
    for name in ("Subscription", "criteria", "to", "", "state", "what to do"):
        table.add_column(name, overflow="fold")
    for line in found:
        word = "[green]ok[/]" if line.ok else "[red]no[/]"
        table.add_row(
            line.place, *map(escape, (line.criteria, line.endpoint)), word, *map(escape, (line.told, line.remedy))
        )
    console.print(table)
    if not all(line.ok for line in found):
        raise typer.Exit(1)
