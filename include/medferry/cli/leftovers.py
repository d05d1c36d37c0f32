"""What nothing makes any more and the plan wants gone or out of use: `leftovers`."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from medferry.cli.terminal import MigrationOption, console, environment_of, report_errors, show_findings
from medferry.errors import MedferryError
from medferry.source.shown_keys import shown_key
from medferry.workflows.act_on_leftovers import deal_with_leftovers
from medferry.workflows.leftovers import LeftoverFinding

leftovers_app = typer.Typer()


@leftovers_app.command("leftovers")
@report_errors
def leftovers(
    migration: MigrationOption = "clinics",
    apply: Annotated[bool, typer.Option("--apply", help="Do what would be done; without it nothing is.")] = False,
    by: Annotated[str, typer.Option(help="Who answers for it; needed with --apply, kept in the manifest.")] = "",
) -> None:
    """Show each leftover that the plan wants removed or inactivated; with --apply do that. Shows no patient data.

    A leftover is a resource that Medferry wrote and that neither the plan nor its row makes any more. It is dealt with
    only when nobody has changed it since, when its row is as the last run saw it and, to be removed, when nothing that
    stays refers to it. Whatever cannot be told keeps it, with the reason. Exit 1 when --apply left any.
    """
    if apply and not by.strip():
        raise MedferryError("--apply needs a person who answers for it.", "Add --by NAME.")
    environment = environment_of(migration)
    holder = f"leftovers.{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"
    found = show_findings(deal_with_leftovers(environment, holder, by, apply), partial(_table, apply=apply))
    if not found:
        console.print("No leftovers in Medplum that the plan wants removed or inactivated.")
        return
    kept = sum(finding.reason is not None for finding in found)
    done = f"{len(found) - kept:,} {'done' if apply else 'would be done'}, {kept:,} left as they are."
    console.print(done if apply else f"{done} Nothing was changed: --apply does it.")
    if apply and kept:
        raise typer.Exit(1)


def _table(found: list[LeftoverFinding], apply: bool) -> Table:
    table = Table()
    for name in ("leftover", "entity", "source key", "why", "the plan says", ""):
        table.add_column(name, overflow="fold")
    for finding in found:
        leftover = finding.leftover
        told = f"stays: {finding.reason}" if finding.reason else "done" if apply else "would be done"
        key = shown_key(leftover.entity, leftover.key)
        cells = (leftover.place, leftover.entity, key, leftover.kind, finding.policy, told)
        table.add_row(*map(Text, cells))
    return table
