"""What the account that reads the legacy database has to be granted for a migration: nothing but SELECT. Pure."""

from __future__ import annotations

from sqlglot.errors import SqlglotError

from medferry.definition.capture import tables_read, tables_selected
from medferry.definition.inverses import takes_births
from medferry.definition.migration import Migration
from medferry.source.births import BORN
from medferry.source.dialects import DIALECTS

_ACCOUNT = "the_reading_account"


def reader_grants(migration: Migration, dialect: str) -> list[str]:
    """The statements, for `dialect` (SQLAlchemy's name of it); none where there are no accounts.

    Raises SqlglotError for SQL that cannot be read.
    """
    engine = DIALECTS[dialect]
    if not engine.has_accounts:
        return []
    tables = {table for entity in migration.entities.values() for table in tables_read(entity)}
    for checks in migration.checks.entities.values():
        tables |= tables_selected(f"SELECT 1 FROM {checks.tables}", engine.sqlglot)
        for slot in checks.resources:
            for many in checks.many(slot):
                tables |= tables_selected(f"SELECT 1 FROM {many.tables}", engine.sqlglot)
    if takes_births(migration.inverses):
        tables.add(BORN)
    granted = [*(f"GRANT SELECT ON {table}" for table in sorted(tables)), *engine.grants]
    return [f"{line} TO {_ACCOUNT}" for line in granted]


def reader_grants_told(migration: Migration, dialect: str) -> list[str]:
    """As `reader_grants`, with a line in the place of what cannot be told."""
    try:
        return reader_grants(migration, dialect)
    except SqlglotError:
        return ["SELECT on each table that entities and checks read (their SQL cannot be told apart here)"]
