"""Rows of other tables that a deletion would take along or change, by a foreign key's own action.

ON DELETE CASCADE, SET NULL and SET DEFAULT are carried out without a word, and nobody has decided them. What refers by
any other foreign key the database itself does not let go; SQLite only in a connection that asks for it, so there every
foreign key counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from medferry.source.faults import in_each_others_way

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


def following(connection: sa.Connection, table: sa.TableClause, found: sa.ColumnElement[bool]) -> list[str]:
    """The names of the tables with a row that would go, or be changed, with the rows of `table` that are `found`.

    MySQL and MariaDB show an account no foreign key of a table on which it has no right. Raises Unseen, after which the
    transaction can only be rolled back, and DBAPIError where somebody else is in the way.
    """
    names = []
    for child, pairs in _children(connection, table):
        parent = sa.table(table.name, *map(sa.column, pairs.values()), schema=table.schema)
        refers = sa.and_(*(child.c[own] == parent.c[other] for own, other in pairs.items()))
        one = sa.literal_column("1", sa.Integer)
        there = sa.select(one).select_from(parent).where(found, sa.exists().where(refers)).limit(1)
        try:
            if connection.execute(there).first():
                names.append(str(child.element.name))
        except DBAPIError as error:
            if error.connection_invalidated or in_each_others_way(error):
                raise
            raise Unseen(str(child.element.name)) from None
    return names


def _children(connection: sa.Connection, table: sa.TableClause) -> Iterator[tuple[Any, dict[str, str]]]:
    """(table that refers, under a name of its own; its column → the column that it refers to) of each foreign key."""
    place = connection.dialect.identifier_preparer.format_table(table)
    named = {"name": table.name, "schema": table.schema, "place": place}
    statement = sa.text(_OF[connection.dialect.name])
    wanted = {name: value for name, value in named.items() if f":{name}" in statement.text}
    keys: dict[tuple[Any, ...], dict[str, str]] = {}
    for *of, own, other in connection.execute(statement, wanted):
        keys.setdefault(tuple(of), {})[str(own)] = str(other)
    for (schema, name, _), pairs in sorted(keys.items(), key=repr):
        yield sa.table(str(name), *map(sa.column, pairs), schema=schema).alias("follower"), pairs
