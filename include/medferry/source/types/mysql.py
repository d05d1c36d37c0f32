"""MySQL and MariaDB: what the engine prints, but for integers, floats, bits and bytes; FLOAT by way of a double.

The engine prints a FLOAT with six digits whatever it holds, so such a column is asked for as a double. A TIMESTAMP is
an instant, printed in the session's time zone, which is UTC (`source.session`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from medferry.errors import SourceError
from medferry.source.types.canonical import Canonical, Column, Convert, SourceType, binary, single_precision

if TYPE_CHECKING:
    from pymysql.connections import Connection

_ZEROFILL = 64
_BINARY_CHARSET = 63
_DECIMAL, _FLOAT, _TIMESTAMP, _BIT = 246, 4, 7, 16
_INTEGERS = frozenset({1, 2, 3, 8, 9})
_STRINGS = frozenset({249, 250, 251, 252, 253, 254, 15})

_NO_DATE = "a zero date (`0000-00-00`) is false; see below"

TYPES: Mapping[int, SourceType] = {
    1: SourceType("TINYINT, BOOLEAN", Canonical.INTEGER),
    2: SourceType("SMALLINT", Canonical.INTEGER),
    9: SourceType("MEDIUMINT", Canonical.INTEGER),
    3: SourceType("INT", Canonical.INTEGER, "with ZEROFILL text that keeps the zeros, of any integer"),
    8: SourceType("BIGINT", Canonical.INTEGER, "also UNSIGNED"),
    246: SourceType("DECIMAL", Canonical.DECIMAL, "with ZEROFILL it keeps the zeros"),
    4: SourceType("FLOAT", Canonical.FLOAT, "the shortest digits that are the same number"),
    5: SourceType("DOUBLE", Canonical.FLOAT),
    16: SourceType("BIT", Canonical.INTEGER),
    10: SourceType("DATE", Canonical.DATE, _NO_DATE),
    12: SourceType("DATETIME", Canonical.LOCAL_TIME, _NO_DATE),
    7: SourceType("TIMESTAMP", Canonical.INSTANT, f"with `+00:00`; {_NO_DATE}"),
    11: SourceType("TIME", Canonical.TIME, "from `-838:59:59` to `838:59:59`"),
    13: SourceType("YEAR", Canonical.INTEGER, "`0000` is 0"),
    254: SourceType("CHAR, ENUM, SET, UUID, INET4, INET6", Canonical.TEXT),
    253: SourceType("VARCHAR", Canonical.TEXT),
    15: SourceType("VARCHAR of a server before 5.0", Canonical.TEXT),
    252: SourceType("TINYTEXT, TEXT, MEDIUMTEXT, LONGTEXT, JSON of MariaDB", Canonical.TEXT),
    249: SourceType("TINYTEXT of a result", Canonical.TEXT),
    250: SourceType("MEDIUMTEXT of a result", Canonical.TEXT),
    251: SourceType("LONGTEXT of a result", Canonical.TEXT),
    245: SourceType("JSON of MySQL", Canonical.JSON, "`json.loads` reads it"),
    6: SourceType("NULL", Canonical.NULL),
}
"""By the type number of a result's column. Text of the binary character set is bytes."""

BINARY_STRINGS = SourceType("BINARY, VARBINARY, TINYBLOB, BLOB, MEDIUMBLOB, LONGBLOB", Canonical.BYTES)

REFUSED: Mapping[int, str] = {255: "GEOMETRY", 242: "VECTOR", 0: "DECIMAL of a server before 5.0"}
"""Those that the engines have beside."""

REMEDIES: Mapping[int, str] = {255: "ST_AsText({name})"}


def keep_text(connection: Connection[Any]) -> None:
    """Have PyMySQL give the engine's own text of decimals, dates and times."""
    for number in (0, 7, 10, 11, 12, 14, 246):
        connection.decoders.pop(number, None)


def exact(
    connection: sa.Connection, statement: sa.Select[Any] | sa.TextClause, values: Mapping[str, Any]
) -> tuple[sa.Select[Any] | sa.TextClause, frozenset[str]]:
    """The statement with its FLOAT columns as doubles, and their names. Of a text, the order of rows may be lost.

    Asks the engine for the columns, and for no row.
    """
    described = connection.execute(_without_rows(statement), values)
    fields = _fields(described)
    described.close()
    floats = frozenset(field.name for field in fields if field.type_code == _FLOAT)
    if not floats:
        return statement, floats
    selected = dict(statement.selected_columns) if isinstance(statement, sa.Select) else {}
    named = {field.name: selected.get(field.name, sa.column(field.name)) for field in fields}
    columns = [_as_double(name, column) if name in floats else column for name, column in named.items()]
    if isinstance(statement, sa.Select):
        return statement.with_only_columns(*columns), floats
    within = statement.columns(*(sa.column(field.name) for field in fields)).subquery("typed_rows")
    return sa.select(*columns).select_from(within), floats


def _without_rows(statement: sa.Select[Any] | sa.TextClause) -> sa.Select[Any]:
    if isinstance(statement, sa.Select):
        return statement.limit(0)
    return sa.select(sa.text("*")).select_from(statement.columns().subquery("typed_rows")).limit(0)


def _as_double(name: str, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    plain = column.element if isinstance(column, sa.Label) else column
    return (sa.type_coerce(plain, sa.types.NullType()).op("+")(sa.literal_column("0e0"))).label(name)


def columns(result: sa.CursorResult[Any], floats: frozenset[str]) -> list[Column]:
    """How each column of a result is read. Raises SourceError naming the first whose type is not in the table."""
    fields = _fields(result)
    for field in fields:
        if field.type_code not in TYPES:
            name = REFUSED.get(field.type_code, f"number {field.type_code}")
            cast = REMEDIES.get(field.type_code, "CAST({name} AS CHAR)").format(name=field.name)
            raise SourceError(
                f"The column {field.name} is of the type {name}, which is not read.",
                f"Leave it out, or cast it in the entity's SQL: {cast}.",
            )
    return [Column(field.name, _convert(field, floats)) for field in fields]


def _convert(field: Any, floats: frozenset[str]) -> Convert | None:
    if field.type_code in _STRINGS:
        return binary if field.charsetnr == _BINARY_CHARSET else None
    if field.flags & _ZEROFILL and field.type_code in _INTEGERS:
        return partial(_zero_filled, field.length)
    if field.type_code == _BIT:
        return _bits
    if field.type_code == _TIMESTAMP:
        return _instant
    return single_precision if field.name in floats else None


def _zero_filled(width: int, value: int) -> str:
    return str(value).zfill(width)


def _bits(value: bytes) -> int:
    return int.from_bytes(value, "big")


def _instant(value: str) -> str:
    return value if value.startswith("0000") else f"{value}+00:00"


def _fields(result: sa.CursorResult[Any]) -> Sequence[Any]:
    """The driver's own description: flags and character set are not in the public one."""
    found: Sequence[Any] = result.cursor._result.fields
    return found
