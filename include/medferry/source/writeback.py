"""Write changed columns of an entity's rows into the legacy database: all of them in one transaction, or nothing.

The rows are locked, read again by the entity's own SQL and compared with what the changes were made from; then only the
changed columns are written, by key, and read back before the commit.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import sqlalchemy as sa

from medferry.source.database import stream
from medferry.source.entity import SourceEntity
from medferry.source.followers import Unseen, followers, following
from medferry.source.keys import key_text
from medferry.source.legacy_table import LegacyTable
from medferry.source.lookup import keys_where, row_of_key, rows_of_keys
from medferry.source.shown_keys import shown_name
from medferry.source.types.canonical import base64_of
from medferry.source.write_faults import RowConflict, WriteRefused
from medferry.source.write_transaction import writing_rows

Row = Mapping[str, Any]

Edit = tuple[Row, Row]
"""A row as it was read, its base, and its changes: column of the row → value."""


def write_rows(
    engine: sa.Engine,
    entity: SourceEntity,
    tables: Sequence[LegacyTable],
    edits: Sequence[Edit],
    through: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Write the changes of each row to the row that reads as its base; returns the rows as they read then, in order.

    Several at once are to be written where the engine `waits_for_nobody`.
    `through`: units whose closed gates this write goes through. To be given while nobody else may write them.
    Raises RowConflict, WriteRefused, SourceUnavailable, and SourceError from reading. No message quotes a value.
    """
    keys = [entity.ledger_key_of(base) for base, _ in edits]
    with writing_rows(engine, entity, through) as (connection, now):
        held = _lock(connection, tables, [base for base, _ in edits])
        present = rows_of_keys(connection, entity, keys)
        for key, (base, _), numbers in zip(keys, edits, held, strict=True):
            _as_it_was(entity, key, base, present.get(key, []))
            _one_row(entity, tables[0], numbers[0])
        for (base, changes), numbers in zip(edits, held, strict=True):
            for table, number in zip(tables, numbers, strict=True):
                write_table(connection, table, number, base, changes, now)
        for (base, changes), numbers in zip(edits, held, strict=True):
            for table, number in zip(tables, numbers, strict=True):
                _once(connection, table, number, base, changes)
        written = rows_of_keys(connection, entity, keys)
        for key, (base, changes) in zip(keys, edits, strict=True):
            _compare(entity, tables, {**base, **changes}, written.get(key, []))
        return [written[key][0] for key in keys]


def remove_row(
    engine: sa.Engine,
    entity: SourceEntity,
    tables: Sequence[LegacyTable],
    base: Row,
    mark: bool,
    through: Collection[str] = (),
) -> None:
    """Delete the row that reads as `base`, or `mark` it as removed in its own table.

    What other rows of the entity read as well stays, but for its own table's: that is refused. Raises as `write_rows`,
    also where the entity's SQL would show the row as it was.
    """
    key = entity.ledger_key_of(base)
    name = shown_name(entity.name, key)
    own = tables[0]
    with writing_rows(engine, entity, through) as (connection, now):
        [held] = _lock(connection, tables, [base])
        if row_of_key(connection, entity, key) != dict(base):
            raise RowConflict(
                f"{name} was changed by somebody else, or is gone.",
                "Read it again.",
            )
        _one_row(entity, own, held[0])
        marking = mark and own.removed is not None
        there = [table for table, rows in zip(tables, held, strict=True) if rows and (table is own or not marking)]
        going = [table for table in there if _is_its_own(connection, entity, table, base)]
        if own not in going:
            raise WriteRefused(
                f"The row of {own.name} makes other rows of {entity.name}, too.",
                "Decide in the legacy system what becomes of them.",
            )
        if mark and own.removed:
            marks = {own.removed: now, **({own.touched: now} if own.touched else {})}
            connection.execute(sa.update(table_of(own)).where(_found_by(own, base)).values(bound(marks)))
        else:
            for table in reversed(going):  # its own row last, as the others may refer to it
                _delete(connection, table, base)
        if row_of_key(connection, entity, key) == dict(base):
            raise WriteRefused(
                f"{name} would still be read as it was.",
                "Let the entity's SQL read the column `removed`.",
            )


def _lock(connection: sa.Connection, tables: Sequence[LegacyTable], bases: Sequence[Row]) -> list[tuple[int, ...]]:
    """How many rows each table has for each of some of the entity's rows; they are locked."""
    return list(zip(*(lock_rows(connection, table, bases) for table in tables), strict=True))


def lock_rows(connection: sa.Connection, table: LegacyTable, bases: Sequence[Row]) -> Sequence[int]:
    """How many rows the table has for each of some of the entity's rows; they are locked. One row may be several's."""
    found = [_found_by(table, base, f"{place}_") for place, base in enumerate(bases)]
    whose = (one.label(f"of_{place}") for place, one in enumerate(found))
    statement = sa.select(*whose).select_from(table_of(table)).where(sa.or_(*found))
    rows = connection.execute(statement.with_for_update()).all()
    return [sum(bool(row[place]) for row in rows) for place in range(len(bases))]


def _as_it_was(entity: SourceEntity, key: str, base: Row, present: Sequence[Row]) -> None:
    name = shown_name(entity.name, key)
    if not present:
        raise RowConflict(f"{name} is gone.", "Read the row again.")
    if len(present) > 1:
        raise WriteRefused(
            f"{name}: the entity's SQL shows {len(present)} rows of it.",
            "Correct the SQL, a join that finds several rows for one, or the rows in the legacy system.",
        )
    if present != [dict(base)]:
        raise RowConflict(f"{name} was changed by somebody else.", "Read the row again.")


def _one_row(entity: SourceEntity, own: LegacyTable, held: int) -> None:
    """Raise WriteRefused where a row that can be read is not the one of its own table by the key."""
    if held != 1:
        raise WriteRefused(
            f"{entity.name}: {own.name} has {held} rows by the key of one that is there.",
            "Correct the key of the inverse's own table; a key of a single-precision float is equal to no number.",
        )


def write_table(connection: sa.Connection, table: LegacyTable, held: int, base: Row, changes: Row, now: str) -> None:
    """Bring one table to the changes: an update, or for an optional row its first or last value."""
    values = {column: changes[name] for name, column in table.columns.items() if name in changes}
    if not values:
        return
    if held > 1:
        raise RowConflict(f"{table.name} has {held} rows for one.", "Correct them in the legacy system.")
    touched = {table.touched: now} if table.touched else {}
    left = any({**base, **changes}[name] is not None for name in table.columns)
    written, found = table_of(table), _found_by(table, base)
    if held and (left or not table.optional):
        connection.execute(sa.update(written).where(found).values(bound({**values, **touched})))
    elif held and table.removed:
        connection.execute(sa.update(written).where(found).values(bound({table.removed: now, **touched})))
    elif held:
        _delete(connection, table, base)
    elif left:
        keys = {column: base[name] for column, name in table.key.items()}
        connection.execute(sa.insert(written).values(bound({**keys, **table.only, **table.new, **values, **touched})))


def _once(connection: sa.Connection, table: LegacyTable, held: int, base: Row, changes: Row) -> None:
    """Raise RowConflict where a row that was inserted is there twice: two of the entity's rows may share it."""
    if held or all({**base, **changes}[name] is None for name in table.columns):
        return
    if lock_rows(connection, table, [base])[0] > 1:
        raise RowConflict(f"{table.name} would have several rows for one.", "Read the rows again.")


def _is_its_own(connection: sa.Connection, entity: SourceEntity, table: LegacyTable, base: Row) -> bool:
    """Whether the entity's SQL reads what the table has, which is locked, for this row alone.

    A table may be shared (a visit of many weights), and its columns may take for equal what the SQL tells apart (`ab`
    and `AB`, by their collations). Raises WriteRefused for what is read for nobody, or only in part for this one.
    """
    written, names = table_of(table), {name: column for column, name in table.key.items()}
    columns = [written.c[column].label(name) for name, column in names.items()]
    statement = sa.select(*columns).where(_found_by(table, base))
    key, verdicts = entity.ledger_key_of(base), set[bool]()
    for found in list(stream(connection, statement, {})):
        exact = all(says(found[name], base[name]) for name in names)
        read = base if exact else found
        readers = keys_where(connection, entity, _equal({name: read[name] for name in names}))
        if not exact and not readers:
            raise WriteRefused(
                f"{table.name} has a row that {entity.name} does not read by that key.",
                "See how upper and lower case and blanks of the keys are compared, and correct them.",
            )
        verdicts.add(readers <= {key})
    if len(verdicts) > 1:
        raise WriteRefused(
            f"{table.name} has rows of several {entity.name} that the key does not tell apart.",
            "See how upper and lower case and blanks of the keys are compared, and correct them.",
        )
    return verdicts != {False}


def _delete(connection: sa.Connection, table: LegacyTable, base: Row) -> None:
    """Delete the row, which is locked. Raises WriteRefused where rows that nobody has decided about would follow it."""
    written, found = table_of(table), _found_by(table, base)
    looked = followers(connection, written)
    try:
        names = following(connection, written, found, looked)
    except Unseen as unseen:
        raise WriteRefused(
            f"{unseen} refers to {table.name}, its rows go or change with those, and the account may not see them.",
            f"Grant the writing account SELECT on {unseen}.",
        ) from None
    if names:
        raise WriteRefused(
            f"Rows of {', '.join(names)} refer to the row of {table.name}, and would go or change with it.",
            "Decide in the legacy system what becomes of them; or let the plan say `inactivate`.",
        )
    connection.execute(sa.delete(written).where(found))
    # A table that is being changed is in no catalogue for a moment. What has followed by now stays as it is defined.
    if set(followers(connection, written)) - set(looked):
        raise RowConflict(f"A table that refers to {table.name} was changed.", "The next cycle looks again.")


def table_of(table: LegacyTable, *more: str) -> sa.TableClause:
    """The table with the columns that its declaration names, and `more`."""
    schema, _, name = table.name.rpartition(".")
    marks = [mark for mark in (table.touched, table.removed) if mark]
    columns = dict.fromkeys((*table.key, *table.only, *table.new, *table.columns.values(), *marks, *more))
    return sa.table(name, *(sa.column(column) for column in columns), schema=schema or None)


def _found_by(table: LegacyTable, base: Row, mark: str = "") -> sa.ColumnElement[bool]:
    return _equal({**{column: base[name] for column, name in table.key.items()}, **table.only}, mark)


def _equal(wanted: Row, mark: str = "") -> sa.ColumnElement[bool]:
    return sa.and_(
        *(
            sa.column(column).is_(None)
            if value is None
            else sa.column(column) == _as_it_is(f"key_{mark}{number}", value)
            for number, (column, value) in enumerate(wanted.items())
        )
    )


def bound(values: Mapping[str, Any]) -> dict[str, sa.BindParameter[Any]]:
    return {column: _as_it_is(f"value_{number}", value) for number, (column, value) in enumerate(values.items())}


def _as_it_is(name: str, value: Any) -> sa.BindParameter[Any]:
    """Without a type: the engine then reads a text as whatever the column holds. Bytes are bytes again."""
    encoded = base64_of(value)
    held = value if encoded is None else base64.b64decode(encoded)
    return sa.bindparam(name, held, type_=sa.types.NullType())


def _compare(entity: SourceEntity, tables: Sequence[LegacyTable], wanted: Row, written: Sequence[Row]) -> None:
    """Raise WriteRefused where the row does not read as it should now; only the times of the change may differ."""
    times = {entity.changed, *(table.touched for table in tables)}
    other = sorted(
        name for name in wanted if name not in times and (len(written) != 1 or not says(written[0][name], wanted[name]))
    )
    if other:
        raise WriteRefused(
            f"{entity.name}: the legacy database would keep another value in {', '.join(other)}.",
            "Give the inverse the column's bounds, and see what triggers change by themselves.",
        )


def says(read: Any, wanted: Any) -> bool:
    """Whether a column reads as what was written: 72.50 for 72.5, a padded CHAR for its text, 17 for the key "17".

    The digits of a text are no number: a column that keeps "0123" as 123 keeps another value.
    """
    if read == wanted or read is None or wanted is None:
        return bool(read == wanted)
    if str(key_text(read)).rstrip(" ") == str(key_text(wanted)).rstrip(" "):
        return True
    try:
        return not isinstance(wanted, str) and Decimal(str(read)) == Decimal(str(wanted))
    except InvalidOperation:
        return False
