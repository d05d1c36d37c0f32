"""What is in the legacy database and who reads it: `inventory`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from medferry.cli.terminal import MigrationOption, console, environment_of, report_errors
from medferry.definition.left_behind import FILE, LeftBehind, load_left_behind
from medferry.source.database import snapshot
from medferry.source.inventory import Column, LegacySchema, legacy_schema, readers

inventory_app = typer.Typer()


@dataclass(frozen=True, slots=True)
class InventoryColumn:
    """One column of the legacy database: read by entities, left behind for a reason, or undecided."""

    table: str
    column: str
    entities: Sequence[str]
    reason: str

    @property
    def is_undecided(self) -> bool:
        return not self.entities and not self.reason


@inventory_app.command("inventory")
@report_errors
def show_inventory(
    migration: MigrationOption = "clinics",
    columns: Annotated[bool, typer.Option("--columns", help="A line for each column, not each table.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print every column as JSON.")] = False,
) -> None:
    """List every table and column of the legacy database, and which entity reads it. Shows no patient data.

    What no entity reads is undecided, unless left_behind.yaml in the migration's folder says why it stays. Exit 1 while
    anything is undecided.
    """
    environment = environment_of(migration)
    left_behind = load_left_behind(environment.migration.folder)
    with snapshot(environment.source) as connection:
        schema = legacy_schema(connection)
    found = inventory(schema, readers(schema, environment.migration.entities.values()), left_behind)
    useless = left_behind.useless({(one.table, one.column) for one in found})
    undecided = sum(one.is_undecided for one in found)
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found], indent=2, ensure_ascii=False))
    else:
        console.print(_by_column(found) if columns else _by_table(found))
        for line in useless:
            console.print(f"[yellow]{FILE}: {escape(line)} matches nothing in the database.[/]")
        console.print(f"{undecided} of {len(found)} columns are undecided.")
    if undecided or useless:
        raise typer.Exit(1)


def inventory(
    schema: LegacySchema, read: Mapping[Column, Sequence[str]], left_behind: LeftBehind
) -> list[InventoryColumn]:
    """Every column of every table, tables by name, columns in the engine's order."""
    return [
        InventoryColumn(table, column, tuple(sorted(read.get((table, column), ()))), left_behind.reason(table, column))
        for table, columns in sorted(schema.tables.items())
        for column in columns
    ]


def _by_table(found: Sequence[InventoryColumn]) -> Table:
    shown = Table(title="Tables of the legacy database", title_justify="left")
    for name in ("table", "columns", "read", "left behind", "undecided", "read by"):
        shown.add_column(name, justify="left" if name in ("table", "read by") else "right")
    for name in dict.fromkeys(one.table for one in found):
        of_table = [one for one in found if one.table == name]
        counts = (
            len(of_table),
            sum(bool(one.entities) for one in of_table),
            sum(not one.entities and bool(one.reason) for one in of_table),
            sum(one.is_undecided for one in of_table),
        )
        entities = ", ".join(sorted({entity for one in of_table for entity in one.entities}))
        shown.add_row(escape(name), *map(str, counts), escape(entities))
    return shown


def _by_column(found: Sequence[InventoryColumn]) -> Table:
    shown = Table(title="Columns of the legacy database", title_justify="left")
    for name in ("column", "read by", "left behind because"):
        shown.add_column(name)
    for one in found:
        entities = ", ".join(one.entities) or ("" if one.reason else "[bold red]nobody[/]")
        shown.add_row(escape(f"{one.table}.{one.column}"), entities, "" if one.entities else escape(one.reason))
    return shown
