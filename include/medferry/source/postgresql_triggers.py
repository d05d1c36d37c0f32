"""Our triggers on PostgreSQL: of each table a function, and a trigger by it for the rows and one for TRUNCATE.

The functions run with their owner's rights and his search path: the application needs no right on what they touch.
The triggers fire ALWAYS, in a session with ``session_replication_role = replica`` too.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from medferry.source.objects import Found, Trigger, short

_NAME_LIMIT = 63


@dataclass(frozen=True, slots=True)
class TriggerKind:
    """Triggers of one purpose. `name` is that of the one for rows; `settings` are SQL clauses of the functions."""

    name: str
    timing: str
    settings: str = ""

    @property
    def of_truncate(self) -> str:
        return f"{self.name}_truncate"

    def wanted(self, table: str, path: str, body: str) -> list[Trigger]:
        """Both triggers of a table; `path` is the search path of who installs."""
        function = short(f"{self.name}_{table}", _NAME_LIMIT)
        create = (
            f"CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER "
            f"SET search_path = {path} {self.settings}AS $medferry${body}$medferry$"
        )
        found = []
        for name, event in ((self.name, "INSERT OR UPDATE OR DELETE"), (self.of_truncate, "TRUNCATE")):
            each = "STATEMENT" if event == "TRUNCATE" else "ROW"
            statements = (
                create,
                f"CREATE TRIGGER {name} {self.timing} {event} ON {table} FOR EACH {each} EXECUTE FUNCTION {function}()",
                f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}",
            )
            found.append(Trigger(table, name, body, statements, (f"DROP TRIGGER {name} ON {table}",)))
        return found

    def found(self, connection: sa.Connection, tables: Collection[str]) -> list[Found]:
        """Those that are there, on whatever table; a table among `tables` has the name that it has there."""
        named = {oid: table for table, oid in oids(connection, tables).items()}
        rows = connection.execute(sa.text(_FOUND), {"names": [self.name, self.of_truncate]})
        result = []
        for oid, regclass, name, enabled, body, generation, function in rows:
            table = named.get(oid, regclass)
            drop = [f"DROP TRIGGER {name} ON {table}"]
            if name != self.name:  # the last of its two triggers
                drop.append(f"DROP FUNCTION IF EXISTS {function}")
            result.append(Found(table, name, body, enabled == "A", generation, tuple(drop)))
        return result


def oids(connection: sa.Connection, tables: Collection[str]) -> dict[str, Any]:
    """Table → what the catalogue knows it by; None where there is none of that name, or a view, say."""
    rows = connection.execute(sa.text(_OIDS), {"names": list(tables)})
    return {str(table): oid for table, oid in rows}


def search_path(connection: sa.Connection) -> str:
    """That of the session, for functions that are to find what it finds."""
    schemas = connection.scalars(sa.text("SELECT quote_ident(unnest(current_schemas(false)))")).all()
    return ", ".join([*map(str, schemas), "pg_temp"])


_OIDS = """
SELECT name, c.oid FROM unnest(CAST(:names AS text[])) AS watched (name)
LEFT JOIN pg_class c ON c.oid = to_regclass(name) AND c.relkind IN ('r', 'p', 'f')
"""

_FOUND = """
SELECT t.tgrelid::bigint, t.tgrelid::regclass::text, t.tgname::text, t.tgenabled::text, p.prosrc,
       concat_ws(':', t.oid, t.xmin, p.oid, p.xmin), p.oid::regprocedure::text
FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
WHERE t.tgname = ANY(:names) AND t.tgparentid = 0 ORDER BY 2, 3
"""
"""A row of the catalogue gets another xmin whenever it changes, so a trigger that was off for a while shows."""
