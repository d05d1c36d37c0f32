"""Begin a migration from the live schema: `new`."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import sqlalchemy as sa
import typer
from rich.markup import escape

from medferry.cli.terminal import console, report_errors
from medferry.definition.migration import load_migration
from medferry.definition.skeleton import Wanted, skeleton, slug
from medferry.errors import MedferryError
from medferry.governance.strategy import LARGEST
from medferry.runtime.settings import settings_from_environment
from medferry.runtime.several import variables_of
from medferry.source.database import connect_engine, snapshot
from medferry.source.survey import LEAST_ROWS, SurveyedTable, survey, units_of

new_app = typer.Typer()


@new_app.command("new")
@report_errors
def new_migration(
    folder: Annotated[Path, typer.Argument(help="Where its files go: a folder that is not there, or empty.")],
    table: Annotated[
        list[str], typer.Option(help="A table to move, with the resource type that its rows become: patients=Patient.")
    ],
    time_zone: Annotated[str, typer.Option(help="Of the legacy system's wall times, such as America/New_York.")],
    unit_column: Annotated[
        str,
        typer.Option(help="The column that says to which clinic, site or team a row belongs; empty: there is none."),
    ] = "",
) -> None:
    """Write the first files of a migration from the live schema: plan, entities, skeletons of mappings and checks.

    Columns with few values become code tables, all lines in draft. No row is mapped by it: what it writes is a draft.
    It counts the values of every column of text or integers: where that would be felt, let it read a copy.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise MedferryError(f"{folder} is not empty.", "Name a new folder: what is there is never written over.")
    types = _types(table)
    wanted = _wanted(slug(folder.resolve().name), time_zone, types, unit_column)
    files = skeleton(wanted)
    try:
        for place, text in files.items():
            path = folder / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        load_migration(folder)
    except (MedferryError, OSError):
        shutil.rmtree(folder, ignore_errors=True)  # nothing was in it before
        raise
    _tell(folder, files, wanted.tables)


def _types(tables: Sequence[str]) -> dict[str, str]:
    """Table → resource type. Raises MedferryError for a table that is named twice: one of the two would be lost."""
    types: dict[str, str] = {}
    for name, _, kind in (one.partition("=") for one in tables):
        if name in types:
            raise MedferryError(
                f"The table {name} is named twice.",
                "Name it once. For rows of another resource type copy its entity, mapping and checks, and let each "
                "SELECT, and each `from` of the checks, take its own rows by WHERE.",
            )
        types[name] = kind or "Basic"
    return types


def _wanted(name: str, time_zone: str, types: dict[str, str], unit_column: str) -> Wanted:
    settings = settings_from_environment(variables_of(name))
    settings.require("source_url")
    engine = connect_engine(settings.source_url, settings.source_arguments)
    with snapshot(engine) as connection:
        tables = survey(connection, list(types))
        units = units_of(connection, tables, unit_column) if unit_column else []
        phased = len(units) > LARGEST["units"]
        return Wanted(name, time_zone, tables, types, unit_column, units, _quoted(connection, tables), phased)


def _quoted(connection: sa.Connection, tables: list[SurveyedTable]) -> dict[str, str]:
    quote = connection.dialect.identifier_preparer.quote
    names = {name for table in tables for name in (table.name, *table.key, *(one.name for one in table.columns))}
    return {name: str(quote(name)) for name in names}


def _tell(folder: Path, files: dict[str, str], tables: Sequence[SurveyedTable]) -> None:
    coded = [place for place in files if place.startswith("terminology/")]
    console.print(
        f"{len(files)} files in {escape(str(folder))}, all in draft: each row is quarantined until it is mapped."
    )
    if coded:
        rare = sum(column.rare for table in tables for column in table.columns)
        told = f"; {rare} values of fewer than {LEAST_ROWS} rows were left out" if rare else ""
        console.print(
            f"[yellow]{len(coded)} code tables hold values of the legacy database{told}: look at them before anybody "
            "else does, and delete those that are no codes.[/]",
            soft_wrap=True,
        )
    if secrets := [f"{table.name}.{column}" for table in tables for column in table.secrets]:
        console.print(f"Left out, as they seem to hold secrets: {escape(', '.join(secrets))}.", soft_wrap=True)
    console.print(f"next: medferry plan check -m {escape(str(folder))}", soft_wrap=True)
