"""Write and find many rows at once: one statement a call on PostgreSQL (arrays), one prepared statement on SQLite.

SQLAlchemy's own way handles each row as a dictionary, which costs more than the write itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cache
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from medferry.manifest.hashes import stored_rows

Row = tuple[Any, ...]


def upsert(
    connection: sa.Connection,
    table: sa.Table,
    columns: tuple[str, ...],
    rows: Sequence[Row],
    update: tuple[str, ...] | None = None,
) -> None:
    """Insert `rows` (values of `columns`); where the primary key exists, set `update` (None: all others; (): keep).

    Of rows with the same primary key the last one counts.
    """
    keys = tuple(column.name for column in table.primary_key)
    key_of = itemgetter(*(columns.index(name) for name in keys))
    changed = tuple(name for name in columns if name not in keys) if update is None else update
    sql = _insert_sql(connection.dialect.name, table, columns, keys, changed)
    _write(connection, sql, table, columns, list({key_of(row): row for row in rows}.values()))


def append(connection: sa.Connection, table: sa.Table, columns: tuple[str, ...], rows: Sequence[Row]) -> None:
    """Insert `rows` (values of `columns`) of a table that numbers them itself."""
    _write(connection, _insert_sql(connection.dialect.name, table, columns, (), ()), table, columns, rows)


def change(
    connection: sa.Connection, table: sa.Table, columns: tuple[str, ...], keys: tuple[str, ...], rows: Sequence[Row]
) -> None:
    """Set `columns` of the rows that `keys` name; each of `rows` holds the values of `columns`, then of `keys`."""
    _write(connection, _update_sql(connection.dialect.name, table, columns, keys), table, columns + keys, rows)


def forget(connection: sa.Connection, table: sa.Table, migration: str, records: Iterable[tuple[str, str]]) -> None:
    """Delete what a table has of some records, by (entity, source key)."""
    named = [{"of_entity": entity, "of_key": key} for entity, key in records]
    of = (table.c.entity == sa.bindparam("of_entity"), table.c.key == sa.bindparam("of_key"))
    if named:
        connection.execute(sa.delete(table).where(table.c.migration == migration, *of), named)


def among(
    database: sa.Connection | sa.Engine, column: sa.ColumnElement[Any], values: Iterable[str]
) -> sa.ColumnElement[bool]:
    """`column` IN `values`, as one bound value: any number of them, one cached statement."""
    if database.dialect.name == "postgresql":
        return column == sa.any_(sa.literal(list(values), postgresql.ARRAY(sa.String)))
    listed = sa.func.json_each(json.dumps(list(values))).table_valued("value")
    return column.in_(sa.select(listed.c.value))


def _write(connection: sa.Connection, sql: str, table: sa.Table, columns: tuple[str, ...], rows: Sequence[Row]) -> None:
    if not rows:
        return
    rows = stored_rows(connection.dialect, [table.c[name] for name in columns], rows)
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(sql, tuple(list(values) for values in zip(*rows, strict=True)))
    else:
        connection.exec_driver_sql(sql, list(rows))


@cache
def _insert_sql(
    dialect: str, table: sa.Table, columns: tuple[str, ...], keys: tuple[str, ...], changed: tuple[str, ...]
) -> str:
    into = f"INSERT INTO {table.name} ({', '.join(columns)})"
    conflict = ""
    if keys:
        what = ", ".join(f"{name} = excluded.{name}" for name in changed)
        conflict = f" ON CONFLICT ({', '.join(keys)}) DO {f'UPDATE SET {what}' if what else 'NOTHING'}"
    if dialect == "postgresql":
        return f"{into} SELECT * FROM {_arrays(table, columns)}{conflict}"
    return f"{into} VALUES ({', '.join('?' * len(columns))}){conflict}"


@cache
def _update_sql(dialect: str, table: sa.Table, columns: tuple[str, ...], keys: tuple[str, ...]) -> str:
    if dialect == "postgresql":
        given = f"{_arrays(table, columns + keys)} AS given ({', '.join(columns + keys)})"
        what = ", ".join(f"{name} = given.{name}" for name in columns)
        where = " AND ".join(f"{table.name}.{name} = given.{name}" for name in keys)
        return f"UPDATE {table.name} SET {what} FROM {given} WHERE {where}"
    what, where = ", ".join(f"{name} = ?" for name in columns), " AND ".join(f"{name} = ?" for name in keys)
    return f"UPDATE {table.name} SET {what} WHERE {where}"


def _arrays(table: sa.Table, columns: Sequence[str]) -> str:
    types = (table.c[name].type.compile(postgresql.dialect()) for name in columns)  # type: ignore[no-untyped-call]
    return f"unnest({', '.join(f'%s::{name}[]' for name in types)})"
