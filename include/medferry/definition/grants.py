"""What the account that reads the legacy database has to be granted for a migration: nothing but SELECT. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator

import sqlalchemy as sa
from sqlglot.errors import SqlglotError

from medferry.definition.capture import tables_called
from medferry.definition.checks import Check, EntityChecks, places
from medferry.definition.inverses import takes_births
from medferry.definition.migration import Migration
from medferry.source.births import BORN
from medferry.source.changes.rules import OF_ROW, ROW, Watched
from medferry.source.dialects import DIALECTS

_ACCOUNT = "the_reading_account"
_SUB_SELECT = re.compile(r"(?i)\bselect\b")


def reader_grants(migration: Migration, dialect: str) -> list[str]:
    """The statements, for `dialect` (SQLAlchemy's name of it); none where there are no accounts.

    Raises SqlglotError for SQL that cannot be read.
    """
    engine = DIALECTS[dialect]
    if not engine.has_accounts:
        return []
    tables = set[tuple[str, ...]]()
    for sql in _queries(migration, dialect):
        tables |= tables_called(sql, engine.sqlglot, engine.is_case_told, portable=True)
    read = {".".join(table).casefold() for table in tables}
    tables |= {tuple(table.split(".")) for table in _with_triggers(migration) if table.casefold() not in read}
    if takes_births(migration.inverses):
        tables.add((BORN,))
    quote = sa.make_url(f"{engine.url}://").get_dialect()().identifier_preparer.quote
    named = [".".join(quote(part) for part in table) for table in sorted(tables)]
    granted = [*(f"GRANT SELECT ON {table}" for table in named), *engine.grants]
    return [f"{line} TO {_ACCOUNT}" for line in granted]


def _queries(migration: Migration, dialect: str) -> Iterator[str]:
    """All SQL with a table in it that the account runs."""
    yield from (entity.query(dialect) for entity in migration.entities.values())
    for checks in migration.checks.entities.values():
        yield f"SELECT 1 FROM {checks.tables}"
        yield from (f"SELECT {sql}" for sql in _expressions(checks) if _SUB_SELECT.search(sql))
        for many in (many for slot in checks.resources for many in checks.many(slot)):
            order = f" ORDER BY {many.order}" if many.order else ""
            yield f"SELECT {', '.join([*many.keys, many.sql])} FROM {many.tables} WHERE {many.where}{order}"
    for key in (key for keys in _with_triggers(migration).values() for key in keys):
        for part in filter(_SUB_SELECT.search, key.parts):
            sql = OF_ROW.sub("1", part).replace(ROW, "1")
            yield sql if key.is_select else f"SELECT {sql}"


def _expressions(checks: EntityChecks) -> Iterator[str]:
    """Those over the tables of a file of checks."""
    yield from filter(None, [*checks.keys, checks.unit, checks.period])
    yield from (resource.when for resource in checks.resources.values())
    for check in (check for _, check in places(checks) if isinstance(check, Check)):
        optional = (check.sql, check.where, check.unit, check.comparator, check.zone, check.plus_minutes)
        yield from filter(None, [*optional, check.media_type, *check.further_sql])


def _with_triggers(migration: Migration) -> Watched:
    """Table → what its triggers evaluate, which the commands' checks try."""
    found = dict(migration.capture.watched()) if migration.capture else {}
    for table, unit in (migration.gate.gated() if migration.gate else {}).items():
        found[table] = (*found.get(table, ()), unit)
    return found


def reader_grants_told(migration: Migration, dialect: str) -> list[str]:
    """As `reader_grants`, with a line in the place of what cannot be told."""
    try:
        return reader_grants(migration, dialect)
    except SqlglotError:
        return ["SELECT on each table that entities and checks read (their SQL cannot be told apart here)"]
