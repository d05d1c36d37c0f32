"""Map one row and show it: `try`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
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
from medferry.cli.try_birth import resource_of, show_birth, shown
from medferry.definition.migration import Migration
from medferry.errors import MedferryError
from medferry.fhir.identifiers import identifiers_of
from medferry.mapping.apply import MappedRow
from medferry.mapping.apply_inverse import apply_inverse, by_slot
from medferry.mapping.outcomes import DEAD, Disposition
from medferry.mapping.quiet import heard
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
    key: Annotated[
        str | None, typer.Option("--key", "-k", help="The row's source key, as the manifest writes it.")
    ] = None,
    migration: MigrationOption = "clinics",
    edited: Annotated[
        Path | None,
        typer.Option(
            "--resource",
            exists=True,
            dir_okay=False,
            help="JSON of one of its resources as edited; without --key of one that was created in Medplum.",
        ),
    ] = None,
) -> None:
    """Map one row and show it beside its resources, problems and way back. Writes nothing; shows patient data.

    Without --key: the row that would be inserted for the --resource, which somebody has created in Medplum.
    """
    environment = environment_of(migration)
    definition = entity_of(environment.migration, entity)
    if key is None:
        if edited is None:
            raise MedferryError("There is nothing to try.", "Give --key of a row, or --resource of what was created.")
        show_birth(environment.migration, entity, resource_of(edited))
        return
    row = _find_row(environment, definition, key)
    with heard():
        mapped = map_row(environment.migration.specs[entity], definition, row, environment.migration.settings)
    left, right = Table(title="source row", title_justify="left"), Table(title="becomes", title_justify="left")
    left.add_column("column")
    left.add_column("value", overflow="fold")
    for name, value in row.items():
        left.add_row(name, "[dim]null[/]" if value is None else Text(shown(value)))
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
    _show_way_back(environment.migration, entity, row, mapped, edited)
    if mapped.disposition in DEAD:
        raise typer.Exit(2)


def _show_way_back(
    migration: Migration, entity: str, row: Mapping[str, Any], mapped: MappedRow, edited: Path | None
) -> None:
    """What the row's resources change in it, one of them as `edited`; nothing without. Raises MedferryError."""
    inverse, spec, settings = migration.inverses.get(entity), migration.specs[entity], migration.settings
    if inverse is None or mapped.disposition is not Disposition.PENDING:
        if edited:
            why = f"The mapping of {entity} has no inverse" if inverse is None else "The row becomes no resource"
            raise MedferryError(f"{why}: there is no way back.", "Try it without --resource.")
        return
    resources = dict(by_slot(spec, mapped.resources, settings))
    if edited:
        resource = resource_of(edited)
        read = by_slot(spec, [resource], settings)
        if not read or mapped.key not in [name.get("value") for name in identifiers_of(resource)]:
            raise MedferryError(f"{edited.name} is none of the row's resources.", "Keep the identifier it was given.")
        resources |= read
    with heard():
        changes = apply_inverse(spec, inverse, row, mapped.key, resources, settings)
    table = Table(title="the way back", title_justify="left")
    for name in ("column", "has", "gets"):
        table.add_column(name, overflow="fold")
    for column, value in changes.columns.items():
        table.add_row(column, Text(shown(row.get(column))), Text(shown(value)))
    console.print(table if changes.columns else "The way back changes nothing in the row.")
    for loss in changes.cannot_express:
        told = " ".join(part for part in (loss.slot, loss.path, loss.reason, loss.detail) if part)
        console.print(f"cannot express: {escape(told)}", soft_wrap=True)


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
