"""The way back of what was created in Medplum: which row `try` would insert for it, and which it would not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from medferry.cli.terminal import console
from medferry.definition.migration import Migration
from medferry.errors import MedferryError
from medferry.mapping.apply_birth import BirthMapping, RowBirth
from medferry.mapping.apply_inverse import by_slot
from medferry.mapping.inverse import InverseSpec
from medferry.source.births import KeyBy, NewRows

_LATER = "once the row is there"
_KEYS = {KeyBy.DATABASE: "made by the database", KeyBy.UUID: "a random UUID"}


def show_birth(migration: Migration, entity: str, resource: dict[str, Any]) -> None:
    """The row that would be inserted for a resource, its references by identifier; or why none. Raises MedferryError.

    What only the row tells (the zone of its clinic) is not known before it is there: the cycle judges that.
    """
    mapping, new = _mapping_of(migration, entity, resource)
    row = mapping.first(resource)
    table = Table(title=f"a new row of {mapping.inverse.tables[0].name}", title_justify="left")
    for name in ("column", "gets"):
        table.add_column(name, overflow="fold")
    for column, value in _columns(mapping.inverse, new, row):
        table.add_row(column, Text(shown(value)))
    if row.refused:
        console.print("No row would be inserted.")
    else:
        console.print(table)
    for one in (*row.refused, *row.told):
        told = " ".join(part for part in (one.slot, one.path, one.reason, one.detail) if part)
        console.print(f"cannot express: {escape(told)}", soft_wrap=True)


def _mapping_of(migration: Migration, entity: str, resource: dict[str, Any]) -> tuple[BirthMapping, NewRows]:
    inverse, spec, settings = migration.inverses.get(entity), migration.specs[entity], migration.settings
    new = inverse.births if inverse else None
    if inverse is None or new is None:
        raise MedferryError(f"{entity} takes no births.", "Give its @inverse births=new_rows(…), or try a row: --key.")
    if by_slot(spec, [resource], settings):
        raise MedferryError("The resource has the identifier of a row: it is no birth.", "Give that row's --key.")
    kind = str(resource.get("resourceType"))
    slots = [slot for slot, of in spec.produces.items() if of == kind and new.fits(resource, slot)]
    if len(slots) != 1:
        raise MedferryError(
            f"A {kind} fits {len(slots)} resources of a row of {entity}.",
            "Correct `fits` of its new_rows, or the file.",
        )
    return BirthMapping(spec, inverse, slots[0], settings), new


def _columns(inverse: InverseSpec, new: NewRows, row: RowBirth) -> Iterator[tuple[str, Any]]:
    """Column of the table → what it gets, in words where that is not known yet."""
    own = inverse.tables[0]
    [key] = own.key
    yield key, _KEYS.get(KeyBy(new.key), "") if new.key in {*KeyBy} else f"by SQL: {new.key}"
    if new.unit:
        yield new.unit, "the business unit of what it refers to"
    said = {**own.columns, **new.columns}
    for name, column in said.items():
        yield column, row.columns.get(name, _LATER)
    for column, value in {**own.only, **own.new, **new.constants}.items():
        if column not in said.values():
            yield column, value
    for column in (*new.times, *([own.touched] if own.touched else [])):
        if column not in said.values():
            yield column, "the time of the insertion"


def resource_of(path: Path) -> dict[str, Any]:
    """The resource in a file. Raises MedferryError."""
    try:
        read = orjson.loads(path.read_bytes())
    except ValueError:
        read = None
    if not isinstance(read, dict):
        raise MedferryError(f"{path.name} holds no JSON object.", "Give one resource as JSON.")
    return read


def shown(value: Any) -> str:
    """A value for the terminal."""
    text = str(value).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= 200 else f"{text[:200]}… ({len(text):,} characters)"
