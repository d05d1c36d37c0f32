"""What an engine compares a column as, and texts as such values."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from medferry.source.keys import KeyFault, fault_of

Kind = type
"""int, Decimal, float, bytes, UUID or str; ``object`` for a column that only its text tells apart."""

_POSTGRESQL: Mapping[str, Kind] = {
    **dict.fromkeys(("smallint", "integer", "bigint"), int),
    **dict.fromkeys(("real", "double precision"), float),
    **dict.fromkeys(("text", "character", "character varying", "name", "citext"), str),
    "numeric": Decimal,
    "uuid": UUID,
    "bytea": bytes,
}
_MYSQL: Mapping[int, Kind] = {246: Decimal, 7: object, 10: object, 11: object, 12: object}
"""By the driver's type number, where the value alone does not say it: decimals, dates and times."""

_BEYOND_SQLITE = 2**63
_UNBINDABLE = frozenset({KeyFault.UNDECODABLE, KeyFault.INEXACT})


def kinds_of(
    connection: sa.Connection, columns: Sequence[sa.ColumnElement[Any]], source: sa.TextClause
) -> Sequence[Kind] | None:
    """The kind of each of these columns of `source`, as any one row has it; None where there is no row."""
    if connection.dialect.name == "postgresql":
        names = [sa.cast(sa.func.pg_typeof(column), sa.Text) for column in columns]
        row = connection.execute(sa.select(*names).select_from(source).limit(1)).one_or_none()
        return None if row is None else [_POSTGRESQL.get(name, object) for name in row]
    there = sa.and_(*(column.is_not(None) for column in columns))
    result = connection.execute(sa.select(*columns).select_from(source).where(there).limit(1))
    assert result.cursor is not None
    numbers: list[Any] = [column[1] for column in result.cursor.description]
    row = result.one_or_none()
    if row is None:
        return None
    return [_MYSQL.get(number, type(value)) for number, value in zip(numbers, row, strict=True)]


def comparable(column: sa.ColumnElement[Any], dialect: str, kind: Kind) -> sa.ColumnElement[Any]:
    """The column in the form in which it is compared with ``held_values``."""
    if kind is not object:
        return column
    return sa.cast(column, sa.Text() if dialect in ("postgresql", "sqlite") else sa.CHAR())


def held_values(dialect: str, kind: Kind, texts: Sequence[str]) -> list[Any]:
    """`texts` as values of a kind; those that cannot be are left out. What they are equal to may read otherwise."""
    texts = [text for text in texts if fault_of(text) not in _UNBINDABLE]
    if dialect == "sqlite":  # it holds any type in any column, and compares all with all
        numbers = [number for number in _typed(texts, int) if abs(number) < _BEYOND_SQLITE]
        fractions = _typed([text for text in texts if "." in text], float)
        return [*texts, *numbers, *fractions, *(_typed(texts, _bytes) if kind is bytes else ())]
    convert = _CONVERTERS.get(kind)
    return _typed(texts, convert) if convert else texts


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


_CONVERTERS: Mapping[Kind, Callable[[str], Any]] = {
    int: int,
    Decimal: Decimal,
    float: float,
    bytes: _bytes,
    UUID: UUID,
}
