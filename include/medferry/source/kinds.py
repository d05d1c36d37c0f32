"""What an engine compares a column as, and texts as such values: the engine's own word for it, no row is asked."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, auto
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from medferry.errors import SourceError
from medferry.source.dialects import as_text
from medferry.source.keys import KeyFault, fault_of
from medferry.source.types import mssql, postgresql


class Kind(Enum):
    """How a column is compared with a value that is bound to a statement."""

    WHOLE = auto()
    EXACT = auto()
    DOUBLE = auto()
    SINGLE = auto()
    """A float of 32 bits, which is equal to a double only when that has its very bits."""
    BYTES = auto()
    UUID = auto()
    TEXT = auto()
    INSTANT = auto()
    """MySQL's TIMESTAMP: a row holds it with an offset, which the engine does not read."""
    LISTED = auto()
    """MySQL's ENUM and SET: a text to whoever compares it, a number to an ORDER BY."""
    OWN = auto()
    """SQLite's: the type is each value's own, and the column's collation may take two texts for one."""
    MADE = auto()
    """PostgreSQL's types that users and extensions make: how they compare, and where that is found, is their own."""
    ADDRESS = auto()
    """PostgreSQL's inet, of which a CAST makes another text than is printed: with the length of a whole mask."""
    PRINTED = auto()
    """Only its text tells it apart."""


_POSTGRESQL: Mapping[int, Kind] = {
    **dict.fromkeys((20, 21, 23), Kind.WHOLE),
    **dict.fromkeys((19, 25, 705, 1042, 1043), Kind.TEXT),
    17: Kind.BYTES,
    700: Kind.SINGLE,
    701: Kind.DOUBLE,
    869: Kind.ADDRESS,
    1700: Kind.EXACT,
    2950: Kind.UUID,
}
"""By the object identifier of a result's column, which is a domain's base type."""

_MYSQL: Mapping[int, Kind] = {
    **dict.fromkeys((1, 2, 3, 8, 9, 13, 16), Kind.WHOLE),
    **dict.fromkeys((6, 10, 11, 12), Kind.PRINTED),
    4: Kind.SINGLE,
    5: Kind.DOUBLE,
    7: Kind.INSTANT,
    246: Kind.EXACT,
}
"""By the type number of a result's column; all others are texts, or bytes in the binary character set."""

_MSSQL: Mapping[str, Kind] = {
    **dict.fromkeys(("tinyint", "smallint", "int", "bigint"), Kind.WHOLE),
    **dict.fromkeys(("decimal", "numeric", "money", "smallmoney"), Kind.EXACT),
    **dict.fromkeys(("char", "varchar", "nchar", "nvarchar"), Kind.TEXT),
    **dict.fromkeys(("binary", "varbinary", "timestamp"), Kind.BYTES),
    "float": Kind.DOUBLE,
    "real": Kind.SINGLE,
    "uniqueidentifier": Kind.UUID,
}
"""By the engine's name of a type."""
_DATED = frozenset({"date", "time", "smalldatetime", "datetime", "datetime2", "datetimeoffset"})

_BINARY_CHARSET = 63
_STRING, _UNSIGNED, _LENGTH_OF_UUID = 254, 32, 36 * 4
"""How MariaDB tells UUID, INET4 and INET6, which warn of a text that is none, from CHAR."""
_LISTED_FLAGS = 256 | 2048
"""Of ENUM and of SET, which have no number of their own."""
_BEYOND_SQLITE = 2**63
INFINITIES = ("Infinity", "-Infinity")
"""SQLite's infinite numbers, which arrive as these texts."""
_UNBINDABLE = frozenset({KeyFault.UNDECODABLE, KeyFault.INEXACT})
_OFFSET = "+00:00"


def kinds_of(
    connection: sa.Connection, columns: Sequence[sa.ColumnElement[Any]], source: sa.TextClause
) -> Sequence[Kind]:
    """The kind of each of these columns of `source`. SQLite's columns have none.

    Raises SourceError.
    """
    dialect = connection.dialect.name
    if dialect == "sqlite":
        return [Kind.OWN] * len(columns)
    named = [column.label(f"kind_{place}") for place, column in enumerate(columns)]
    if dialect == "mssql":
        told = mssql.described(connection, sa.select(*named).select_from(source))
        return [_mssql_kind(one.type_name, column) for one, column in zip(told, columns, strict=True)]
    result = connection.execute(sa.select(*named).select_from(source).limit(0))
    cursor: Any = result.cursor
    if dialect == "postgresql":
        found = [_postgresql_kind(column.type_code) for column in cursor.description]
    else:
        found = [_mysql_kind(field) for field in cursor._result.fields]
    result.close()
    return found


def _postgresql_kind(oid: int) -> Kind:
    return _POSTGRESQL.get(oid) or (Kind.PRINTED if oid in postgresql.TYPES else Kind.MADE)


def _mssql_kind(type_name: str, column: sa.ColumnElement[Any]) -> Kind:
    """Raises SourceError for what SQL Server compares in no way that was thought through here."""
    kind = _MSSQL.get(type_name)
    if kind is None:
        name = str(column)
        style = ", 121" if type_name in _DATED else ""
        raise SourceError(
            f"{name} is of the type {type_name}, by which SQL Server's rows are not looked up.",
            f"Cast it in the entity's SQL, and in its checks: CONVERT(nvarchar(100), {name}{style}).",
        )
    return kind


def _mysql_kind(field: Any) -> Kind:
    if field.type_code == _STRING and field.flags & _UNSIGNED:
        return Kind.UUID if field.length == _LENGTH_OF_UUID else Kind.PRINTED
    if field.flags & _LISTED_FLAGS and field.charsetnr != _BINARY_CHARSET:
        return Kind.LISTED
    return _MYSQL.get(field.type_code) or (Kind.BYTES if field.charsetnr == _BINARY_CHARSET else Kind.TEXT)


def comparable(column: sa.ColumnElement[Any], dialect: str, kind: Kind) -> sa.ColumnElement[Any]:
    """The column in the form in which it is compared with ``held_values``."""
    if kind is Kind.ADDRESS:
        return sa.func.concat(column)
    if kind not in (Kind.PRINTED, Kind.MADE, Kind.INSTANT):
        return column
    return as_text(dialect, column)


def held_values(dialect: str, kind: Kind, texts: Sequence[str]) -> list[Any]:
    """`texts` as values of a kind; those that cannot be are left out. What they are equal to may read otherwise."""
    texts = [text for text in texts if fault_of(text) not in _UNBINDABLE]
    if dialect == "sqlite":  # it holds any type in any column, and compares all with all
        numbers = [number for number in _typed(texts, int) if -_BEYOND_SQLITE <= number < _BEYOND_SQLITE]
        fractions = _typed([text for text in texts if "." in text or "e" in text or text in INFINITIES], float)
        return [*texts, *numbers, *fractions, *_typed(texts, _bytes)]
    convert = _CONVERTERS.get(kind)
    return _typed(texts, convert) if convert else texts


def ordered(column: sa.ColumnElement[Any], dialect: str, kind: Kind) -> sa.ColumnElement[Any]:
    """The column in the order in which the engine compares it with a bound value (``compared``).

    SQL Server compares a varchar with that as nvarchar, of which its older collations have another order: ranges that
    were cut in the one and read in the other would overlap.
    """
    if form := _FORMS.get(kind):
        return form.of(column)
    return as_text(dialect, column) if dialect == "mssql" and kind is Kind.TEXT else column


def compared(column: sa.ColumnElement[Any], bound: Any) -> sa.ColumnElement[Any]:
    """The column in the form in which it is compared with the ``rebound`` of a ``bound_value``."""
    held = bound if isinstance(bound, dict) else {}
    return next((form.of(column) for form in _FORMS.values() if form.name in held), column)


def bound_value(value: Any, kind: Kind) -> Any:
    """A row's value as JSON from which ``rebound`` makes the one that the engine compares with the column."""
    if kind is Kind.EXACT:
        return {_DECIMAL: value}
    if (form := _FORMS.get(kind)) and isinstance(value, str):
        return {form.name: value}
    if kind is Kind.WHOLE and isinstance(value, str):  # with ZEROFILL; a text may be compared as a double
        return int(value)
    if kind is Kind.SINGLE and isinstance(value, float):
        return _single(value)
    if kind is Kind.INSTANT:
        return value.removesuffix(_OFFSET)
    return str(value) if kind is Kind.PRINTED and not isinstance(value, bool) else value


def rebound(value: Any) -> Any:
    """The engine's own value of a ``bound_value`` that was kept as JSON."""
    if not isinstance(value, dict):
        return value
    for form in _FORMS.values():
        if form.name in value:
            return value[form.name]
    return Decimal(value[_DECIMAL]) if _DECIMAL in value else _bytes(value["base64"])


_DECIMAL = "decimal"


@dataclass(frozen=True, slots=True)
class _Form:
    """What becomes of a column before it is ordered, and compared with a text. A bound has it by its name."""

    name: str
    of: Callable[[sa.ColumnElement[Any]], sa.ColumnElement[Any]]


def _listed(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """As text in the column's own collation; a CAST would take the connection's, in which two labels may be equal."""
    return sa.func.concat(column, type_=sa.types.NullType())


def _own(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """By the bytes of its texts: what a collation (NOCASE, RTRIM) takes for equal has no order, but keys of its own."""
    return sa.type_coerce(column, sa.Text()).collate("BINARY")


def _made(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """As text: ORDER BY finds a type's order by the type, `>` by its name, in the schemas of the search path alone."""
    return sa.type_coerce(as_text("postgresql", column), sa.Text()).collate("C")


_FORMS: Mapping[Kind, _Form] = {
    Kind.LISTED: _Form("listed", _listed),
    Kind.OWN: _Form("own", _own),
    Kind.MADE: _Form("made", _made),
}


def _typed(texts: Sequence[str], convert: Callable[[str], Any]) -> list[Any]:
    found = []
    for text in texts:
        try:
            found.append(convert(text))
        except (ValueError, ArithmeticError):
            continue
    return found


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _single(number: float | str) -> float:
    rounded: float = struct.unpack("f", struct.pack("f", float(number)))[0]
    return rounded


_CONVERTERS: Mapping[Kind, Callable[[str], Any]] = {
    Kind.WHOLE: int,
    Kind.EXACT: Decimal,
    Kind.DOUBLE: float,
    Kind.SINGLE: _single,
    Kind.BYTES: _bytes,
    Kind.UUID: lambda text: str(UUID(text)),
    Kind.INSTANT: lambda text: text.removesuffix(_OFFSET),
}
