"""Read rows by their source keys, given as the manifest writes them: text.

An engine compares a key in its own type and collation (no index serves a cast, and ``a1`` may equal ``A1``), so keys go
in as what the engine holds, and only rows whose key reads exactly as wanted come out.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import sqlalchemy as sa

from medferry.source.database import stream
from medferry.source.entity import SourceEntity
from medferry.source.slices import entity_rows

KEYS_AT_ONCE = 500
"""Keys a statement; SQLite's limit on bound values was 999 for long."""


def stream_keys(
    connection: sa.Connection, entity: SourceEntity, units: Sequence[str], keys: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """The rows of these keys within `units`, each once, however many statements it takes."""
    everything = sa.select(sa.text("*")).where(sa.column(entity.unit).in_(list(units)))
    return _matching(connection, entity, everything, keys)


def units_of_keys(connection: sa.Connection, entity: SourceEntity, keys: Sequence[str]) -> dict[str, str]:
    """The present unit of each of these keys that the source still has, whatever it is."""
    pair: sa.Select[*tuple[Any, ...]] = sa.select(*(sa.column(name) for name in (entity.key, entity.unit)))
    return {str(row[entity.key]): str(row[entity.unit]) for row in _matching(connection, entity, pair, keys)}


def _matching(
    connection: sa.Connection, entity: SourceEntity, statement: sa.Select[*tuple[Any, ...]], keys: Sequence[str]
) -> Iterator[dict[str, Any]]:
    source = entity_rows(connection.dialect.name, entity)
    key: sa.ColumnClause[Any] = sa.column(entity.key)
    # No type: the driver then sends a value as it is, and PostgreSQL reads text as whatever the column holds.
    wanted_keys = sa.bindparam("wanted_keys", expanding=True, type_=sa.types.NullType())
    chosen = statement.select_from(source).where(key.in_(wanted_keys)).order_by(key)
    kind = connection.scalar(sa.select(key).select_from(source).where(key.is_not(None)).limit(1))
    pending = iter(keys)
    while some := list(islice(pending, KEYS_AT_ONCE)):
        exactly = set(some)
        for row in stream(connection, chosen, {"wanted_keys": _as_held(connection.dialect.name, kind, some)}):
            if str(row[entity.key]) in exactly:
                yield row


def _as_held(dialect: str, kind: Any, keys: Sequence[str]) -> list[Any]:
    """`keys` in the type of `kind`, a key that the source holds; keys that cannot be of that type are left out."""
    if dialect == "sqlite":  # it holds any type in any column, and compares all with all
        return [*keys, *_numbers(keys)]
    if isinstance(kind, int):
        return _numbers(keys)
    if isinstance(kind, (bytes, bytearray, memoryview)):
        return [base64.b64decode(key) for key in keys]
    return list(keys)


def _numbers(keys: Sequence[str]) -> list[int]:
    return [int(key) for key in keys if key.removeprefix("-").isdecimal() and str(int(key)) == key]
