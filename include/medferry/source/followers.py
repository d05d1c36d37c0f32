"""Rows of other tables that a deletion would take along or change, by a foreign key's own action.

ON DELETE CASCADE, SET NULL and SET DEFAULT are carried out without a word, and nobody has decided them. What refers by
any other foreign key the database itself does not let go; SQLite only in a connection that asks for it, so there every
foreign key counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from medferry.source.faults import BUSY_NUMBERS, in_each_others_way
from medferry.source.write_faults import RowConflict, WriteRefused

_POSTGRESQL = """
SELECT n.nspname, c.relname, f.conname, a.attname, b.attname
FROM pg_constraint f JOIN pg_class c ON c.oid = f.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL unnest(f.conkey, f.confkey) AS pair (own, other)
JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = pair.own
JOIN pg_attribute b ON b.attrelid = f.confrelid AND b.attnum = pair.other
WHERE f.contype = 'f' AND f.confdeltype IN ('c', 'n', 'd') AND f.confrelid = to_regclass(:place)
"""
_MYSQL = """
SELECT k.table_schema, k.table_name, k.constraint_name, k.column_name, k.referenced_column_name
FROM information_schema.key_column_usage k JOIN information_schema.referential_constraints r
ON r.constraint_schema = k.constraint_schema AND r.constraint_name = k.constraint_name AND r.table_name = k.table_name
WHERE k.referenced_table_schema = COALESCE(:schema, DATABASE()) AND k.referenced_table_name = :name
AND r.delete_rule IN ('CASCADE', 'SET NULL', 'SET DEFAULT')
"""
_SQLITE = """
SELECT NULL, m.name, f.id, f."from", COALESCE(f."to", (
  SELECT p.name FROM pragma_table_info(f."table") p WHERE p.pk = f.seq + 1))
FROM sqlite_master m, pragma_foreign_key_list(m.name) f WHERE m.type = 'table' AND lower(f."table") = lower(:name)
"""
_OF = {"postgresql": _POSTGRESQL, "mysql": _MYSQL, "mariadb": _MYSQL, "sqlite": _SQLITE}


class Unseen(Exception):
    """The account may not look whether rows of a table, which is its text, follow."""


@dataclass(frozen=True, slots=True)
class Follower:
    """A foreign key by which rows would go, or be changed: the table that refers, its columns and those referred to."""

    schema: str | None
    table: str
    constraint: str
    pairs: tuple[tuple[str, str], ...]


def followers(connection: sa.Connection, table: sa.TableClause) -> list[Follower]:
    """The foreign keys that refer to a table.

    MySQL and MariaDB show an account no foreign key of a table on which it has no right, and pass over a table that
    they cannot look at: raises RowConflict where somebody is changing it, WriteRefused where it cannot be opened.
    """
    place = connection.dialect.identifier_preparer.format_table(table)
    named = {"name": table.name, "schema": table.schema, "place": place}
    statement = sa.text(_OF[connection.dialect.name])
    wanted = {name: value for name, value in named.items() if f":{name}" in statement.text}
    keys: dict[tuple[str | None, str, str], list[tuple[str, str]]] = {}
    for schema, name, constraint, own, other in connection.execute(statement, wanted):
        of = (None if schema is None else str(schema), str(name), str(constraint))
        keys.setdefault(of, []).append((str(own), str(other)))
    if connection.dialect.name in ("mysql", "mariadb"):
        _passed_over_none(connection, table.name)
    return [Follower(*of, tuple(sorted(pairs))) for of, pairs in sorted(keys.items(), key=repr)]


def _passed_over_none(connection: sa.Connection, name: str) -> None:
    numbers = {number for _, number, _ in connection.exec_driver_sql("SHOW WARNINGS")}
    if broken := sorted(numbers - BUSY_NUMBERS):
        raise WriteRefused(
            f"A table that may refer to {name} cannot be opened ({', '.join(map(str, broken))}).",
            "Find it with CHECK TABLE, and repair or drop it.",
        )
    if numbers:
        raise RowConflict(f"A table that may refer to {name} is being changed.", "The next cycle looks again.")


def following(
    connection: sa.Connection, table: sa.TableClause, found: sa.ColumnElement[bool], by: Iterable[Follower]
) -> list[str]:
    """The names of the tables with a row that would go, or be changed, with the rows of `table` that are `found`.

    Raises Unseen, after which the transaction can only be rolled back, and DBAPIError where somebody else is in the
    way.
    """
    names = []
    for one in by:
        child = sa.table(one.table, *(sa.column(own) for own, _ in one.pairs), schema=one.schema).alias("follower")
        parent = sa.table(table.name, *(sa.column(other) for _, other in one.pairs), schema=table.schema)
        refers = sa.and_(*(child.c[own] == parent.c[other] for own, other in one.pairs))
        literal = sa.literal_column("1", sa.Integer)
        there = sa.select(literal).select_from(parent).where(found, sa.exists().where(refers)).limit(1)
        try:
            if connection.execute(there).first():
                names.append(one.table)
        except DBAPIError as error:
            if error.connection_invalidated or in_each_others_way(error):
                raise
            raise Unseen(one.table) from None
    return names
