"""Insert the row of a resource that users created in Medplum: once, however often it is tried.

One transaction: the row in the entity's own table, whatever else of it stands in other tables, and the line of
`medferry_born`. The row is read by the entity's own SQL and judged before the commit. A line that is there already
tells the key, and nothing is written.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from medferry.source.births import BornLine, KeyBy, NewRows, add_born, settled_line
from medferry.source.entity import SourceEntity
from medferry.source.keys import key_text
from medferry.source.legacy_table import LegacyTable
from medferry.source.lookup import row_of_key
from medferry.source.write_faults import WriteRefused
from medferry.source.write_transaction import writing_rows
from medferry.source.writeback import Row, bound, lock_rows, says, table_of, write_table

Judge = Callable[[Row], Row]
"""What of a row that was inserted has to be another value. Raises, and nothing is written."""


def insert_row(
    engine: sa.Engine,
    entity: SourceEntity,
    tables: Sequence[LegacyTable],
    new: NewRows,
    line: BornLine,
    values: Row,
    judge: Judge,
    made: Callable[[Row], str],
    through: Collection[str] = (),
) -> BornLine:
    """The line of the row that stands for a resource; `line` tells of which, its `key` and `made` do not count.

    `values` are of the entity's row; with its unit, where `new` names a column for that. `made` is asked for the line.
    `through`: as of `write_rows`.
    Raises RowConflict, WriteRefused, SourceUnavailable, SourceError, and what `judge` raises.
    """
    with writing_rows(engine, entity, through) as (connection, now):
        if before := settled_line(connection, line):
            return before
        key = _inserted(connection, entity, tables[0], new, values, now)
        row = _read(connection, entity, key)
        if changes := _different(row, judge(row)):
            row = _changed(connection, entity, tables, row, changes, now)
            if left := sorted(_different(row, judge(row))):
                raise WriteRefused(
                    f"{entity.name}: the legacy database would keep another value in {', '.join(left)}.",
                    "Give the inverse the column's bounds, and see what triggers change by themselves.",
                )
        told = replace(line, key=key, made=made(row))
        add_born(connection, told)
        return told


def _inserted(
    connection: sa.Connection, entity: SourceEntity, own: LegacyTable, new: NewRows, values: Row, now: str
) -> str:
    """Insert into the entity's own table; the key as the manifest writes it."""
    given: dict[str, Any] = {**own.only, **own.new, **new.constants, **dict.fromkeys(new.times, now)}
    given |= {column: values[name] for name, column in {**own.columns, **new.columns}.items() if name in values}
    given |= {own.touched: now} if own.touched else {}
    given |= {new.unit: values[entity.unit]} if new.unit else {}
    [name] = own.key
    made = _key(connection, new)
    given |= {} if made is None else {name: made}
    statement = sa.insert(table_of(own, *given)).values(bound(given))
    if made is None and connection.dialect.name not in ("mysql", "mariadb"):
        made = connection.execute(statement.returning(sa.literal_column(name))).scalar_one()
    elif (done := connection.execute(statement)) and made is None:
        made = done.lastrowid
    text = key_text([made])
    if text is None:
        raise WriteRefused(
            f"{entity.name}: the database gives a new row no key.", "Say how it is made: new_rows(key=)."
        )
    return text


def _key(connection: sa.Connection, new: NewRows) -> Any:
    """The key of a new row; None where the database makes it while it inserts."""
    if new.key == KeyBy.DATABASE:
        return None
    if new.key == KeyBy.UUID:
        return str(uuid.uuid4())
    return connection.execute(sa.text(f"SELECT {new.key}".replace(":", "\\:"))).scalar_one()


def _read(connection: sa.Connection, entity: SourceEntity, key: str) -> dict[str, Any]:
    row = row_of_key(connection, entity, key)
    if row is None:
        raise WriteRefused(
            f"{entity.name}: its SQL would not read a new row.", "See what it joins, and what new_rows(…) fills."
        )
    return row


def _changed(
    connection: sa.Connection, entity: SourceEntity, tables: Sequence[LegacyTable], row: Row, changes: Row, now: str
) -> dict[str, Any]:
    for table in tables:
        write_table(connection, table, lock_rows(connection, table, [row])[0], row, changes, now)
    return _read(connection, entity, entity.ledger_key_of(row))


def _different(row: Row, wanted: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in wanted.items() if not says(row[name], value)}
