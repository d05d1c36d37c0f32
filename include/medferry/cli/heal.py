"""Twins in Medplum, found and removed: `heal`."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from medferry.cli.terminal import MigrationOption, console, environment_of, report_errors, show_findings
from medferry.manifest.crosswalk import Action
from medferry.source.shown_keys import shown_key
from medferry.workflows.heal import Finding, heal

heal_app = typer.Typer()


@heal_app.command("heal")
@report_errors
def heal_twins(
    migration: MigrationOption = "clinics",
    apply: Annotated[
        bool, typer.Option("--apply", help="Remove what would be removed; without it nothing is.")
    ] = False,
) -> None:
    """Show every twin in Medplum, and whether it would be removed; with --apply remove those. Shows no patient data.

    A twin is a second resource under an identifier of which the manifest knows another one. It is removed only when it
    is provably ours: the same content, every version written by this client, nothing refers to it, and no batch is
    unsettled. Whatever cannot be told keeps it, with the reason. Exit 1 when --apply left any.
    """
    environment = environment_of(migration)
    holder = f"{Action.HEAL}.{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"
    table = partial(_table, otherwise="removed" if apply else "would be removed")
    found = show_findings(heal(environment, holder, apply), table)
    if not found:
        console.print("No twins: Medplum has each identifier of the crosswalk in one resource.")
        return
    kept = sum(finding.reason is not None for finding in found)
    removed = f"{len(found) - kept:,} {'removed' if apply else 'would be removed'}, {kept:,} kept."
    console.print(removed if apply else f"{removed} Nothing was changed: --apply removes.")
    if apply and kept:
        raise typer.Exit(1)


def _table(found: list[Finding], otherwise: str) -> Table:
    table = Table()
    for name in ("twin", "the crosswalk knows", "identifier system", "source key", ""):
        table.add_column(name, overflow="fold")
    for finding in found:
        twin = finding.twin
        told = f"kept: {finding.reason}" if finding.reason else otherwise
        named = (twin.name[0], shown_key(twin.entity, twin.name[1]))
        table.add_row(*map(Text, (twin.place, twin.known.medplum_id, *named, told)))
    return table
