"""Map one row and show it: `try`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import orjson
import sqlalchemy as sa
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
from medferry.errors import MedferryError, SourceError
from medferry.fhir.identifiers import identifiers_of
from medferry.mapping.apply import MappedRow
from medferry.mapping.apply_inverse import apply_inverse, by_slot
from medferry.mapping.outcomes import DEAD, Disposition
from medferry.mapping.quiet import heard
from medferry.runtime.environment import Environment
from medferry.source.count import require_columns
from medferry.source.database import set_apart, snapshot
from medferry.source.entity import SourceEntity
from medferry.source.lookup import first_row, rows_of_key
from medferry.source.shown_keys import shown_key
from medferry.stages.transform import map_row
from medferry.workflows.given_key import key_given

try_app = typer.Typer()


@try_app.command("try")
@report_errors
def try_row(
    entity: str,
    key: Annotated[
        str | None,
        typer.Option("--key", "-k", help="The row's source key, as the manifest writes it. Default: the first row."),
    ] = None,
    where: Annotated[
        str | None, typer.Option(help="The first row for which this SQL condition on the entity's columns holds.")
    ] = None,
    migration: MigrationOption = "clinics",
    edited: Annotated[
        Path | None,
        typer.Option(
            "--resource",
            exists=True,
            dir_okay=False,
            help="JSON of one of its resources as edited; without --key and --where of one created in Medplum.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Row, outcome and resources as JSON.")] = False,
) -> None:
    """Map one row and show it beside its resources, problems and way back. Writes nothing; shows patient data.

    With --resource alone: the row that would be inserted for it, which somebody has created in Medplum.
    """
    environment = environment_of(migration)
    definition = entity_of(environment.migration, entity)
    if edited is not None and key is None and where is None:
        show_birth(environment.migration, entity, resource_of(edited))
        return
    key = key if key is None else key_given(environment, entity, key)
    row, doubts = _find_row(environment, definition, key, where)
    with nullcontext() if as_json else heard():
        mapped = map_row(environment.migration.specs[entity], definition, row, environment.migration.settings)
    if as_json:
        typer.echo(orjson.dumps(_as_json(definition, row, mapped, doubts), option=orjson.OPT_INDENT_2))
    else:
        _show(row, mapped)
        for doubt in doubts:
            console.print(f"[yellow]{escape(doubt)}[/]", soft_wrap=True)
        _show_way_back(environment.migration, entity, row, mapped, edited)
    if mapped.disposition in DEAD:
        raise typer.Exit(2)


def _as_json(
    entity: SourceEntity, row: Mapping[str, Any], mapped: MappedRow, doubts: Sequence[str]
) -> dict[str, object]:
    return {
        "entity": entity.name,
        "key": mapped.key,
        "unit": _unit_of(entity, row),
        "outcome": _said(mapped),
        "reason": mapped.reason,
        "field": mapped.field,
        "place": mapped.place,
        "findings": [{"reason": found.reason, "field": found.field} for found in mapped.findings],
        "doubts": list(doubts),
        "row": {name: _printable(value) for name, value in row.items()},
        "resources": list(mapped.resources),
    }


def _show(row: Mapping[str, Any], mapped: MappedRow) -> None:
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


def _said(mapped: MappedRow) -> str:
    return "ready to load" if mapped.disposition == Disposition.PENDING else mapped.disposition


def _unit_of(entity: SourceEntity, row: Mapping[str, Any]) -> str | None:
    return None if row[entity.unit] is None else entity.unit_of(row)


def _printable(value: Any) -> Any:
    """JSON holds no half surrogates, which stand for bytes that no charset explained."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _outcome(mapped: MappedRow) -> str:
    return " ".join(part for part in (_said(mapped), mapped.reason, mapped.field, escape(mapped.place)) if part)


def _find_row(
    environment: Environment, entity: SourceEntity, key: str | None, where: str | None
) -> tuple[dict[str, Any], list[str]]:
    """The row, and what a run would stop at. Raises MedferryError when there is none, and what the source raises."""
    if key is not None and where is not None:
        raise MedferryError("A key and a condition were given.", "Give one of --key and --where, or neither.")
    with snapshot(environment.source) as connection:
        require_columns(connection, entity)
        found = rows_of_key(connection, entity, key) if key is not None else _first(connection, entity, where)
    if not found:
        missing = (
            f"with the key {shown_key(entity.name, key)}"
            if key is not None
            else f"where {where}"
            if where
            else "at all"
        )
        raise MedferryError(f"{entity.name} has no row {missing}.", "Check the key or condition, or the entity's SQL.")
    return found[0], _doubts(environment.migration, entity, found)


def _first(connection: sa.Connection, entity: SourceEntity, where: str | None) -> list[dict[str, Any]]:
    try:
        with set_apart(connection):
            row = first_row(connection, entity, where)
    except SourceError as error:
        if where is None:
            raise
        problem = error.problem.replace("a query of", "the condition, in the query of")
        raise SourceError(problem, "Correct --where: SQL of this engine, on the entity's columns.") from None
    return [] if row is None else [row]


def _doubts(migration: Migration, entity: SourceEntity, found: Sequence[Mapping[str, Any]]) -> list[str]:
    doubts = []
    if len(found) > 1:
        name = " and ".join(entity.key)
        doubts.append(f"{len(found)} rows have this key, of which this is one: a run stops, {name} is no key.")
    unit = _unit_of(entity, found[0])
    if unit is None:
        doubts.append("The row belongs to no unit (NULL): a run stops.")
    elif unit not in migration.plan.unit_ids:
        doubts.append(f"The row belongs to the unit {unit}, which the plan does not name: a run stops.")
    return doubts
