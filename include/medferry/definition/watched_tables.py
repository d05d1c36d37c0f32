"""Whether triggers are on the tables that the entities read, on engines where names that differ by case are two.

There `visits` in an entity's SQL is another table than `"Visits"`, and a trigger on the one sees no write of the other.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import sqlalchemy as sa
from sqlglot.errors import SqlglotError

from medferry.definition import capture, gate
from medferry.definition.capture import tables_called
from medferry.definition.migration import Migration
from medferry.errors import DefinitionError
from medferry.source.changes.rules import CaptureMethod
from medferry.source.dialects import DIALECTS
from medferry.source.objects import LegacyObjects


def check_captured(connection: sa.Connection, migration: Migration, journal: LegacyObjects) -> None:
    """Of `capture.yaml`. Raises DefinitionError."""
    rules = migration.capture.entities if migration.capture else {}
    named = {name: [*one.tables, *one.also] for name, one in rules.items() if one.method is CaptureMethod.LOG}
    _check(connection, migration, journal, capture.FILE, named)


def check_gated(connection: sa.Connection, migration: Migration, gates: LegacyObjects) -> None:
    """Of `gate.yaml`, in which each table stands once for all entities. Raises DefinitionError."""
    tables = [*migration.gate.tables] if migration.gate else []
    _check(connection, migration, gates, gate.FILE, dict.fromkeys(migration.entities, tables))


def _check(
    connection: sa.Connection,
    migration: Migration,
    objects: LegacyObjects,
    file: str,
    named: Mapping[str, Collection[str]],
) -> None:
    dialect = connection.dialect.name
    if not DIALECTS[dialect].is_case_told:
        return
    called = objects.called(connection, {table for tables in named.values() for table in tables})
    for entity, tables in named.items():
        read = _last_names(migration.entities[entity].query(dialect), dialect)
        for table in tables:
            [watched] = _last_names(f"SELECT 1 FROM {called[table]}", dialect) or {table}
            others = {name for name in read if name.casefold() == watched.casefold()} - {watched}
            if others and watched not in read:
                raise DefinitionError(
                    migration.folder / file,
                    None,
                    f"{table} is the table {watched} of the legacy database, and {entity} reads {', '.join(others)}.",
                    "Write the name as the database has it, case and all; and in the entity's SQL in quotes.",
                )


def _last_names(sql: str, dialect: str) -> set[str]:
    """The tables that a query reads, without their schemas, as the engine calls them; none where nothing parses it."""
    engine = DIALECTS[dialect]
    try:
        return {parts[-1] for parts in tables_called(sql, engine.sqlglot, engine.is_case_told)}
    except SqlglotError:
        return set()
