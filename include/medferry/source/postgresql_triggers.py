"""Our triggers on PostgreSQL: of each table a function, and a trigger by it for the rows and one for TRUNCATE.

The functions run with their owner's rights and his search path: the application needs no right on what they touch.
The triggers fire ALWAYS, in a session with ``session_replication_role = replica`` too. A partition has those of its
parent; a table that inherits has not, though a query of the parent reads its rows: it gets triggers of its own.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from medferry.source.changes.rules import Watched, quoted
from medferry.source.objects import Found, Trigger, digest, short, word

_NAME_LIMIT = 63
QUOTE = '"'
_FOLDS = re.compile(r"[^\W\d][\w$]*(\.[^\W\d][\w$]*)*")
"""What may stand without quotes."""


@dataclass(frozen=True, slots=True)
class TriggerKind:
    """Triggers of one purpose. `name` is that of the one for rows; `settings` are SQL clauses of the functions."""

    name: str
    timing: str
    settings: str = ""

    @property
    def of_truncate(self) -> str:
        return f"{self.name}_truncate"

    def wanted(self, table: str, called: str, path: str, body: str) -> list[Trigger]:
        """Both triggers of a table, which SQL calls `called`; `path` is the search path of who installs."""
        function = short(word(f"{self.name}_{table.replace(QUOTE, '')}"), _NAME_LIMIT)
        if QUOTE in called:  # a function's name has none, so those of `"Visit"` and `visit` would be one
            function = short(f"{function}_{digest(called)[:8]}", _NAME_LIMIT)
        create = (
            f"CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER "
            f"SET search_path = {path} {self.settings}AS $medferry${body}$medferry$"
        )
        found = []
        for name, event in ((self.name, "INSERT OR UPDATE OR DELETE"), (self.of_truncate, "TRUNCATE")):
            each = "STATEMENT" if event == "TRUNCATE" else "ROW"
            statements = (
                create,
                f"CREATE TRIGGER {name} {self.timing} {event} ON {called} FOR EACH {each} "
                f"EXECUTE FUNCTION {function}()",
                f"ALTER TABLE {called} ENABLE ALWAYS TRIGGER {name}",
            )
            found.append(Trigger(table, name, body, statements, (f"DROP TRIGGER {name} ON {called}",)))
        return found

    def found(self, connection: sa.Connection, tables: Collection[str]) -> list[Found]:
        """Those that are there, on whatever table; a table among `tables` has the name that it has there."""
        named = {oid: table for table, oid in oids(connection, tables).items()}
        rows = connection.execute(sa.text(_FOUND), {"triggers": [self.name, self.of_truncate]})
        result = []
        for oid, regclass, name, enabled, body, generation, function in rows:
            table = named.get(oid, regclass)
            drop = [f"DROP TRIGGER {name} ON {regclass}"]
            if name != self.name:  # the last of its two triggers
                drop.append(f"DROP FUNCTION IF EXISTS {function}")
            result.append(Found(table, name, body, enabled == "A", generation, tuple(drop)))
        return result


def oids(connection: sa.Connection, tables: Collection[str]) -> dict[str, Any]:
    """Table → what the catalogue knows it by; None where there is none of that name, or a view, say."""
    rows = connection.execute(sa.text(_OIDS), written(tables))
    return {str(table): oid for table, oid in rows}


WRITTEN = """(
  SELECT name, folded, coalesce(to_regclass(exact), to_regclass(folded)) AS oid
  FROM unnest(CAST(:names AS text[]), CAST(:exact AS text[]), CAST(:folded AS text[])) AS written (name, exact, folded)
)"""
"""Tables by the names that people wrote, which `written` gives: by case, then as SQL folds it."""


def written(tables: Iterable[str]) -> dict[str, list[str]]:
    """The values of `WRITTEN`."""
    names = list(tables)
    exact = [_exact(name) for name in names]
    folded = [name if _FOLDS.fullmatch(name) else sure for name, sure in zip(names, exact, strict=True)]
    return {"names": names, "exact": exact, "folded": folded}


def _exact(name: str) -> str:
    return name if QUOTE in name else ".".join(quoted(part) for part in name.split("."))


def called(connection: sa.Connection, tables: Collection[str]) -> dict[str, str]:
    """Table → as SQL calls it: as it was written, with quotes only where that alone is not found, or is another."""
    rows = connection.execute(sa.text(_CALLED), written(tables))
    return {str(table): str(table) if is_plain else _exact(str(table)) for table, is_plain in rows}


def quoted_keys(connection: sa.Connection, keys: Watched) -> Watched:
    """The same, with quotes around each bare column that is one of the table's with a capital letter."""
    columns: dict[str, set[str]] = {table: set() for table in keys}
    for table, column in connection.execute(sa.text(_CAPITALS), written(keys)):
        columns[str(table)].add(str(column))
    return {table: tuple(key.quoted(columns[table]) for key in of_table) for table, of_table in keys.items()}


class Kind(StrEnum):
    """`pg_class.relkind` of what can stand in a query's FROM."""

    TABLE = "r"
    PARTITIONED = "p"
    FOREIGN = "f"
    VIEW = "v"
    MATERIALIZED = "m"


@dataclass(frozen=True, slots=True)
class Relation:
    """A relation whose rows a query of a table reads. `name` is that under which the table was asked for, if it was."""

    oid: int
    name: str
    kind: str
    is_partition: bool


def families(connection: sa.Connection, tables: Collection[str]) -> dict[str, list[Relation]]:
    """Table → itself, then all that inherits from it or is a partition of it; none where there is no such relation.

    Temporary tables are left out: no session reads those of another.
    """
    found: dict[str, list[Relation]] = {table: [] for table in tables}
    named: dict[int, str] = {}
    rows = connection.execute(sa.text(_FAMILIES), written(tables)).all()
    for table, oid, _, _, _, is_itself in rows:
        if is_itself:
            named[oid] = str(table)
    for table, oid, name, kind, is_partition, _ in rows:
        found[str(table)].append(Relation(oid, named.get(oid, str(name)), str(kind), is_partition))
    return found


def heirs(connection: sa.Connection, tables: Collection[str]) -> dict[str, list[str]]:
    """Table with triggers of its own → those of some tables whose rows it holds: itself first, if it is one of them."""
    found: dict[str, list[str]] = {}
    for table, family in families(connection, tables).items():
        for relation in family:
            if relation.name == table or not relation.is_partition:
                of_it = found.setdefault(relation.name, [])
                of_it.insert(0 if relation.name == table else len(of_it), table)
    return dict(sorted(found.items()))


def foreign_beneath(family: Collection[Relation]) -> list[str]:
    """The foreign tables of a family, by name: what is written on their own server fires no trigger."""
    return sorted(relation.name for relation in family if relation.kind == Kind.FOREIGN)


def search_path(connection: sa.Connection) -> str:
    """That of the session, for functions that are to find what it finds."""
    schemas = connection.scalars(sa.text("SELECT quote_ident(unnest(current_schemas(false)))")).all()
    return ", ".join([*map(str, schemas), "pg_temp"])


_OIDS = f"""
SELECT name, c.oid::bigint FROM {WRITTEN} AS watched
LEFT JOIN pg_class c ON c.oid = watched.oid AND c.relkind IN ('r', 'p', 'f')
"""

_CALLED = f"""
SELECT name, folded = name AND to_regclass(folded) IS NOT DISTINCT FROM oid FROM {WRITTEN} AS watched
"""

_CAPITALS = f"""
SELECT watched.name, a.attname FROM {WRITTEN} AS watched JOIN pg_attribute a ON a.attrelid = watched.oid
WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attname <> lower(a.attname)
"""

_FAMILIES = f"""
WITH RECURSIVE family (name, oid, is_itself) AS (
  SELECT watched.name, CAST(watched.oid AS oid), true FROM {WRITTEN} AS watched WHERE watched.oid IS NOT NULL
  UNION SELECT f.name, i.inhrelid, false FROM family f JOIN pg_inherits i ON i.inhparent = f.oid
)
SELECT f.name, f.oid::bigint, f.oid::regclass::text, c.relkind::text, c.relispartition, f.is_itself
FROM family f JOIN pg_class c ON c.oid = f.oid WHERE f.is_itself OR c.relpersistence <> 't'
ORDER BY f.name, f.is_itself DESC, 3
"""

_FOUND = """
SELECT t.tgrelid::bigint, t.tgrelid::regclass::text, t.tgname::text, t.tgenabled::text, p.prosrc,
       concat_ws(':', t.oid, t.xmin, p.oid, p.xmin), p.oid::regprocedure::text
FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
WHERE t.tgname = ANY(:triggers) AND t.tgparentid = 0 ORDER BY 2, 3
"""
"""A row of the catalogue gets another xmin whenever it changes, so a trigger that was off for a while shows."""
