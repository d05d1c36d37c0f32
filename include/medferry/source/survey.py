"""What a legacy schema tells of some tables by itself: keys, columns, references, and codes that its columns hold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from medferry.errors import SourceError
from medferry.source.database import stream

MOST_CODES = 40
"""A column with more values than that holds no codes."""
ROWS_A_CODE = 10
"""So many rows a value at the least, on average: what fewer share is no code but what somebody is called."""
LEAST_ROWS = 5
"""A value of fewer rows is not shown: it may be of one patient."""
LONGEST_CODE = 20
SECRETS = re.compile(r"passw|pwd|secret|token|salt|api_?key|private_?key", re.IGNORECASE)
"""A column with such a name holds what lets somebody in: its values are not asked for, and no record needs it."""

MOST_UNITS = 200


class Meant(StrEnum):
    """What a column seems to be, by its type and its part in keys."""

    KEY = "key"
    REFERENCE = "reference"
    CODE = "code"
    DATE = "date"
    INSTANT = "instant"
    NUMBER = "number"
    FLAG = "flag"
    BYTES = "bytes"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class SurveyedColumn:
    """A column; `refers_to` is the table of a foreign key, `codes` the values that many rows share."""

    name: str
    meant: Meant
    refers_to: str = ""
    codes: tuple[str, ...] = ()
    rare: int = 0
    """Values of a column of codes that too few rows have to be shown."""


@dataclass(frozen=True, slots=True)
class SurveyedTable:
    """A table whose rows can be told apart."""

    name: str
    key: tuple[str, ...]
    columns: tuple[SurveyedColumn, ...]
    secrets: tuple[str, ...] = ()
    """Names of the columns that were left out."""


def survey(connection: sa.Connection, tables: Sequence[str]) -> list[SurveyedTable]:
    """Raises SourceError for a table that there is not, or that has no key of its own."""
    inspector = sa.inspect(connection)
    known = set(inspector.get_table_names())
    if unknown := [name for name in tables if name not in known]:
        problem = f"The legacy database has no table {', '.join(unknown)}."
        raise SourceError(problem, f"Case counts. There are {', '.join(sorted(known))[:1_000]}.")
    return [_surveyed(connection, inspector, name) for name in tables]


def units_of(connection: sa.Connection, tables: Iterable[SurveyedTable], column: str) -> list[str]:
    """The distinct values of a column in the tables that have it, as text. Raises SourceError where there are none."""
    found: set[str] = set()
    for table in tables:
        if any(one.name == column for one in table.columns):
            values: sa.Select[Any] = (
                sa.select(sa.column(column).label("value")).select_from(sa.table(table.name)).distinct()
            )
            found |= {str(row["value"]) for row in stream(connection, values.limit(MOST_UNITS + 1), {})} - {"None"}
    if not 0 < len(found) <= MOST_UNITS:
        problem = (
            f"{column} is no column of business units: it has {f'more than {MOST_UNITS}' if found else 'no'} values."
        )
        raise SourceError(problem, "Name the column that says to which clinic, site or team a row belongs.")
    return sorted(found)


def _surveyed(connection: sa.Connection, inspector: sa.Inspector, name: str) -> SurveyedTable:
    key = _key_of(connection, inspector, name) or _unique_of(connection, inspector, name)
    if not key:
        raise SourceError(
            f"The table {name} has no primary key, nor a unique one without nulls: nothing tells its rows apart.",
            "Write its entity by hand, with a key that is made in the SQL; leave the table out here.",
        )
    refers = {
        foreign["constrained_columns"][0]: str(foreign["referred_table"])
        for foreign in inspector.get_foreign_keys(name)
        if len(foreign["constrained_columns"]) == 1
    }
    found = {str(one["name"]): one["type"] for one in inspector.get_columns(name)}
    secrets = tuple(one for one in found if SECRETS.search(one) and one not in key)
    columns = (_column(connection, name, one, kind, key, refers) for one, kind in found.items() if one not in secrets)
    return SurveyedTable(name, key, tuple(columns), secrets)


_KEY_ON_POSTGRESQL = sa.text(
    "SELECT a.attname FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (number, place) "
    "JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number "
    "WHERE i.indrelid = CAST(:name AS regclass) AND i.indisprimary AND k.place <= i.indnkeyatts ORDER BY k.place"
)
"""SQLAlchemy asks for arrays, which arrive as text here."""


def _key_of(connection: sa.Connection, inspector: sa.Inspector, table: str) -> tuple[str, ...]:
    if connection.dialect.name == "postgresql":
        quoted = connection.dialect.identifier_preparer.quote_identifier(table)
        return tuple(connection.execute(_KEY_ON_POSTGRESQL, {"name": quoted}).scalars())
    return tuple(inspector.get_pk_constraint(table)["constrained_columns"])


def _unique_of(connection: sa.Connection, inspector: sa.Inspector, table: str) -> tuple[str, ...]:
    """The shortest unique key of columns that are never null, where the engine tells it; empty: there is none."""
    if connection.dialect.name == "postgresql":
        return ()
    never_null = {str(column["name"]) for column in inspector.get_columns(table) if not column["nullable"]}
    keys = [tuple(map(str, one["column_names"])) for one in inspector.get_unique_constraints(table)]
    return min((key for key in keys if never_null.issuperset(key)), key=len, default=())


def _column(
    connection: sa.Connection,
    table: str,
    name: str,
    kind: sa.types.TypeEngine[Any],
    key: Sequence[str],
    refers: Mapping[str, str],
) -> SurveyedColumn:
    if name in refers:
        return SurveyedColumn(name, Meant.REFERENCE, refers_to=refers[name])
    if name in key:
        return SurveyedColumn(name, Meant.KEY)
    meant = _meant(kind)
    if meant is Meant.TEXT or isinstance(kind, sa.Integer):
        codes, rare = _codes(connection, table, name)
        if not rare and _is_flag(kind, {*codes}):
            return SurveyedColumn(name, Meant.FLAG)
        if codes:
            return SurveyedColumn(name, Meant.CODE, codes=codes, rare=rare)
    return SurveyedColumn(name, meant)


_KINDS: tuple[tuple[type[sa.types.TypeEngine[Any]], Meant], ...] = (
    (sa.Boolean, Meant.FLAG),
    (sa.DateTime, Meant.INSTANT),
    (sa.Date, Meant.DATE),
    (sa.Integer, Meant.NUMBER),
    (sa.Numeric, Meant.NUMBER),
    (sa.Float, Meant.NUMBER),
    (sa.LargeBinary, Meant.BYTES),
    (sa.types._Binary, Meant.BYTES),
)


def _meant(kind: sa.types.TypeEngine[Any]) -> Meant:
    return next((meant for known, meant in _KINDS if isinstance(kind, known)), Meant.TEXT)


def _is_flag(kind: sa.types.TypeEngine[Any], codes: set[str]) -> bool:
    """MySQL and MariaDB have no BOOLEAN: what is declared as one is a TINYINT(1), which may hold any small number."""
    return isinstance(kind, mysql.TINYINT) and kind.display_width == 1 and bool(codes) and codes <= {"0", "1"}


def _codes(connection: sa.Connection, table: str, name: str) -> tuple[tuple[str, ...], int]:
    """The values of a column that holds codes, the commonest first, and how many are too rare to be shown."""
    column: sa.ColumnClause[Any] = sa.column(name)
    number = sa.func.count()
    counted = (
        sa.select(column.label("value"), number.label("number"))
        .select_from(sa.table(table))
        .where(column.is_not(None))
        .group_by(column)
        .order_by(number.desc(), column)
        .limit(MOST_CODES + 1)
    )
    found = {str(row["value"]): int(row["number"]) for row in stream(connection, counted, {})}
    if not found or len(found) > MOST_CODES or sum(found.values()) < ROWS_A_CODE * len(found):
        return (), 0
    if any(len(value) > LONGEST_CODE for value in found):
        return (), 0
    shown = tuple(value for value, rows in found.items() if rows >= LEAST_ROWS and value.strip())
    return shown, len(found) - len(shown)
