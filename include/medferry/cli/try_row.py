"""Map one row and show it: `try`."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from medferry.cli.terminal import (
    MigrationOption,
    console,
    entity_of,
    environment_of,
    report_errors,
)
from medferry.errors import MedferryError
from medferry.mapping.apply import MappedRow
from medferry.mapping.outcomes import DEAD, Disposition
from medferry.runtime.environment import Environment
from medferry.source.count import require_columns
from medferry.source.database import snapshot
from medferry.source.entity import SourceEntity
from medferry.source.lookup import row_of_key
from medferry.stages.transform import map_row

try_app = typer.Typer()


@try_app.command("try")
@report_errors
def try_row(
    entity: str,
    key: Annotated[str, typer.Option("--key", "-k", help="The row's source key, as the manifest writes it.")],
    migration: MigrationOption = "clinics",
) -> None:
    """Map one row and show it beside its resources and problems. Writes nothing; shows patient data."""
    environment = environment_of(migration)
    definition = entity_of(environment.migration, entity)
    row = _find_row(environment, definition, key)
    mapped = map_row(environment.migration.specs[entity], definition, row, environment.migration.settings)
    left, right = Table(title="source row", title_justify="left"), Table(title="becomes", title_justify="left")
    left.add_column("column")
    left.add_column("value", overflow="fold")
    for name, value in row.items():
        left.add_row(name, "[dim]null[/]" if value is None else Text(_shown(value)))
    right.add_column(_outcome(mapped), overflow="fold")
    for resource in mapped.resources:
        right.add_row(Text(orjson.dumps(resource, option=orjson.OPT_INDENT_2).decode()))
        right.add_section()
    for found in mapped.findings:
        right.add_row(f"finding: {found.reason} {found.field}")
    both = Table.grid(padding=(0, 2), expand=True)
    both.add_column(ratio=2)
    both.add_column(ratio=3)
    both.add_row(left, right)
    console.print(both)
    if mapped.disposition in DEAD:
        raise typer.Exit(2)


def _shown(value: Any) -> str:
    text = str(value).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= 200 else f"{text[:200]}… ({len(text):,} characters)"


def _outcome(mapped: MappedRow) -> str:
    said = "ready to load" if mapped.disposition == Disposition.PENDING else mapped.disposition
    return " ".join(part for part in (said, mapped.reason, mapped.field, escape(mapped.place)) if part)


def _find_row(environment: Environment, entity: SourceEntity, key: str) -> dict[str, Any]:
    """The row of exactly that key. Raises MedferryError when there is none, and what the source itself raises."""
    with snapshot(environment.source) as connection:
        require_columns(connection, entity)
        found = row_of_key(connection, entity, key)
    if found is None:
        raise MedferryError(f"{entity.name} has no row with the key {key}.", "Check the key, or the entity's SQL.")
    return found
