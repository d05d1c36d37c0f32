"""Make a Synthea CSV export ready to migrate: load it into a database and write its organizations into the plan.

    PYTHONPATH=include MEDFERRY_SOURCE_URL=sqlite:///build/synthea.db \
        python -m migrations.synthea.prepare output/csv

Run it again after every export: it replaces what it loaded before. The export's layout is checked against layout.csv
first, so that no column is lost unnoticed.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import sqlalchemy as sa
import typer

from medferry.errors import MedferryError, SourceError
from medferry.plan.load import load_plan
from medferry.runtime.settings import settings_from_environment
from medferry.source.csv_import import import_folder
from medferry.source.database import connect_engine

HERE = Path(__file__).resolve().parent
KEYED = ("organizations", "providers", "patients", "payers", "encounters")
"""Tables that others refer to by `id`."""

Layout = Mapping[str, Mapping[str, str]]
"""Table → column → "required" or "optional"."""


def prepare(engine: sa.Engine, folder: Path, plan: Path, accept_unknown: bool = False) -> dict[str, int]:
    """Load the export in `folder` and rewrite the units of `plan`; returns table → rows.

    Raises SourceError when the export's layout is not the one that the migration reads, DefinitionError for a plan
    that cannot be read.
    """
    layout = read_layout(HERE / "layout.csv")
    check_layout(layout, headers(folder), accept_unknown)
    counts = import_folder(engine, folder)
    with engine.begin() as connection:
        _complete(connection, layout)
        found = connection.execute(sa.text("SELECT id, name FROM organizations ORDER BY id")).all()
    write_units(plan, {str(key): str(name) for key, name in found})
    return counts


def read_layout(path: Path) -> Layout:
    layout: dict[str, dict[str, str]] = defaultdict(dict)
    with path.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            layout[line["table"]][line["column"]] = line["presence"]
    return layout


def headers(folder: Path) -> dict[str, list[str]]:
    """The columns of every file, in lower case."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.glob("*.csv")):
        with path.open(encoding="utf-8-sig", newline="") as file:
            found[path.stem.lower()] = [cell.strip().lower() for cell in next(csv.reader(file), [])]
    return found


def check_layout(layout: Layout, found: Mapping[str, list[str]], accept_unknown: bool) -> None:
    """Raises SourceError when a required column is missing, or when one is there that nobody decided about."""
    missing = [
        f"{table}.{column}"
        for table, columns in layout.items()
        for column, presence in columns.items()
        if presence == "required" and column not in found.get(table, [])
    ]
    if missing:
        raise SourceError(f"The export lacks {_some(missing)}.", "Export all files with Synthea 3.2 or later.")
    unknown = [
        f"{table}.{column}"
        for table, columns in found.items()
        for column in columns
        if column not in layout.get(table, {})
    ]
    if unknown and not accept_unknown:
        raise SourceError(
            f"The migration does not know {_some(unknown)}.",
            "Map them (entity, mapping, register.csv, layout.csv), or leave them behind with --accept-unknown.",
        )


def write_units(plan: Path, organizations: Mapping[str, str]) -> None:
    """Put the organizations into the plan's `units:` and touch nothing else of the file. Raises DefinitionError."""
    units = [
        "units:",
        '  - {id: shared, title: "Group level: organizations, providers, payers, patients", shared: true}',
    ]
    units += [f"  - {{id: {key}, title: {_quoted(name)}}}" for key, name in organizations.items()]
    before, after = _around_units(plan.read_text(encoding="utf-8").splitlines())
    draft = plan.with_name(f"{plan.name}.new")
    draft.write_text("\n".join([*before, *units, *after]) + "\n", encoding="utf-8")
    load_plan(draft)  # A plan that cannot be read must not replace one that can.
    draft.replace(plan)


def _complete(connection: sa.Connection, layout: Layout) -> None:
    """Add the optional columns that this export does not have, and the indexes that the entities' joins use."""
    inspector = sa.inspect(connection)
    for table, columns in layout.items():
        there = {column["name"] for column in inspector.get_columns(table)}
        for column in columns.keys() - there:
            connection.execute(sa.text(f"ALTER TABLE {table} ADD COLUMN {column} TEXT NOT NULL DEFAULT ''"))
    for table in KEYED:
        connection.execute(sa.text(f"CREATE INDEX {table}_id ON {table} (id)"))


def _around_units(lines: list[str]) -> tuple[list[str], list[str]]:
    """The plan's lines before and after its `units:` block."""
    start = lines.index("units:") if "units:" in lines else len(lines)
    ends = (number for number in range(start + 1, len(lines)) if lines[number] and lines[number][0] not in " #-")
    return lines[:start], lines[next(ends, len(lines)) :]


def _quoted(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def main(
    folder: Annotated[Path, typer.Argument(help="Synthea's output/csv")],
    plan: Annotated[Path, typer.Option(help="the plan whose units are rewritten")] = HERE / "plan.yaml",
    accept_unknown: Annotated[bool, typer.Option(help="leave columns behind that the migration does not know")] = False,
) -> None:
    """Load a Synthea CSV export into the database of MEDFERRY_SOURCE_URL and write its organizations into the plan."""
    try:
        settings = settings_from_environment()
        settings.require("source_url")
        counts = prepare(connect_engine(settings.source_url), folder, plan, accept_unknown)
    except MedferryError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    for table, rows in counts.items():
        typer.echo(f"{rows:>10,}  {table}")


if __name__ == "__main__":
    typer.run(main)
