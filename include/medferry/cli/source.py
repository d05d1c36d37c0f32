"""Look at the legacy database: `source profile`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from medferry.cli.terminal import (
    MigrationOption,
    console,
    entity_of,
    environment_of,
    report_errors,
)
from medferry.source.database import snapshot, stream
from medferry.source.profile import profile
from medferry.source.slices import rows_of

source_app = typer.Typer(no_args_is_help=True, help="Look at the legacy database.")


@source_app.command("profile")
@report_errors
def source_profile(
    entity: str,
    migration: MigrationOption = "clinics",
    values: Annotated[bool, typer.Option(help="Show the commonest values. They may be patient data.")] = False,
) -> None:
    """Count what each column of an entity holds: nulls, blanks, kinds, lengths, distinct values."""
    environment = environment_of(migration)
    definition = entity_of(environment.migration, entity)
    statement, bound = rows_of(
        environment.source.dialect.name, definition, environment.migration.plan.unit_ids, None, None
    )
    with snapshot(environment.source) as connection:
        columns = profile(stream(connection, statement, bound))
    table = Table(title=f"{definition.title} ({entity})", title_justify="left")
    for name in (
        "column",
        "rows",
        "nulls",
        "blanks",
        "distinct",
        "longest",
        "kinds",
        *(["commonest"] if values else []),
    ):
        table.add_column(name, justify="left" if name in ("column", "kinds", "commonest") else "right")
    for column in columns:
        kinds = ", ".join(f"{kind} {number}" for kind, number in column.kinds.most_common())
        distinct = f"{'≥' if column.distinct_is_more else ''}{column.distinct}"
        cells = [column.name, column.rows, column.nulls, column.blanks, distinct, column.longest, kinds]
        common = ", ".join(f"{text[:30]} ×{number}" for text, number in column.values.most_common(5))
        table.add_row(*(Text(str(cell)) for cell in (*cells, *([common] if values else []))))
    console.print(table)
