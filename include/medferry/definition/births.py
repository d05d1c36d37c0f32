"""Judge how an entity takes births: by its SQL, and by what the legacy database demands of a new row."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import sqlalchemy as sa

from medferry.source.births import KeyBy, NewRows, makes_keys
from medferry.source.entity import SourceEntity
from medferry.source.legacy_table import LegacyTable

Told = tuple[str, str]
"""What is wrong, what to do."""


def births_faults(entity: SourceEntity, own: LegacyTable, new: NewRows, read: Collection[str] | None) -> Iterator[Told]:
    """`read`: the columns of the entity's row in lower case; None where only the database knows them."""
    if len(entity.key) != 1 or len(own.key) != 1:
        yield f"{entity.name} takes births, and its key is not one column of {own.name}.", "Remove births=."
        return
    for column in new.columns:
        if read is not None and column.casefold() not in read:
            yield f"the SQL of {entity.name} gives no column {column}.", "Correct the name in new_rows(columns=)."
    [key] = own.key
    said = [*own.columns.values(), *new.columns.values()]
    fixed = [*new.constants, *new.times, *own.only, *own.new, *([new.unit] if new.unit else [])]
    if key in (*said, *fixed):
        yield f"a new row of {own.name} would get its key {key} twice.", "Leave it to new_rows(key=)."
    # A column of which the inverse knows more once the row is there (the zone of a time) may have a first value.
    begun = {*new.constants, *new.times} & {*own.columns.values()}
    named = [*said, *(name for name in fixed if name not in begun)]
    if twice := sorted({name for name in (*named, *fixed) if named.count(name) > 1 or fixed.count(name) > 1}):
        yield f"a new row of {own.name} would get {twice[0]} twice.", "Name it in one place of new_rows(…)."


def births_faults_in_legacy(connection: sa.Connection, own: LegacyTable, new: NewRows) -> Iterator[Told]:
    """What a new row would lack, and what its table does not have."""
    schema, _, name = own.name.rpartition(".")
    columns = {
        str(column["name"]).casefold(): column for column in sa.inspect(connection).get_columns(name, schema or None)
    }
    given = {*own.columns.values(), *new.columns.values(), *new.constants, *new.times, *own.only, *own.new}
    given |= {one for one in (new.unit, own.touched) if one}
    for one in sorted(given):
        if one.casefold() not in columns:
            yield f"the table {own.name} has no column {one}.", "Correct the name in new_rows(…)."
    [key] = own.key
    filled = {one.casefold() for one in given}
    for one, column in columns.items():
        default = column.get("default") is not None or column.get("computed") or column.get("identity")
        if one != key.casefold() and not column["nullable"] and not default and one not in filled:
            yield (
                f"a new row of {own.name} has no value for {column['name']}, which may not be null.",
                "Let the inverse fill it, or name it in new_rows(constants=, times=, columns=).",
            )
    if new.key == KeyBy.DATABASE and not makes_keys(connection, columns[key.casefold()], name, schema):
        yield f"the database makes no keys for {own.name}.", "Say how one is made: new_rows(key=KeyBy.UUID or SQL)."
