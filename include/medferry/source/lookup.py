"""Find rows by their source keys, given as the manifest writes them: text.

An engine compares a key in its own type and collation (no index serves a cast, and ``a1`` may equal ``A1``), so keys go
in as what the engine holds, and only rows whose key reads exactly as wanted come out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from more_itertools import chunked, map_reduce

from medferry.errors import SourceError
from medferry.source.database import set_apart, stream
from medferry.source.entity import SourceEntity
from medferry.source.keys import is_escaped, parts_of, unit_text
from medferry.source.kinds import Kind, comparable, held_values, kinds_of
from medferry.source.slices import entity_rows, key_columns, of_units, texts_of_units, units_held

KEYS_AT_ONCE = 500
"""Keys a statement; SQLite's limit on bound values was 999 for long."""


def stream_keys(
    connection: sa.Connection, entity: SourceEntity, units: Sequence[str], keys: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """The rows of these keys within `units`, each once, however many statements it takes."""
    held = units_held(connection, entity, units)
    everything = sa.select(sa.text("*")).where(of_units(connection.dialect.name, entity, held))
    return _matching(connection, entity, everything, keys)


def units_of_keys(connection: sa.Connection, entity: SourceEntity, keys: Sequence[str]) -> dict[str, str]:
    """The present unit of each of these keys that the source still has, whatever it is."""
    columns = [*key_columns(entity), texts_of_units(connection.dialect.name, entity).label("unit_of_key")]
    rows = _matching(connection, entity, sa.select(*columns), keys)
    return {entity.ledger_key_of(row): unit_text(row["unit_of_key"]) for row in rows}


def units_of_logged(connection: sa.Connection, entity: SourceEntity, texts: Sequence[str]) -> dict[str, str]:
    """Of keys as a trigger has logged them, those that the source has: canonical key → present unit.

    A trigger's SQL may print a key otherwise than it is read. What the engine takes for equal comes too.
    """
    columns = [*key_columns(entity), texts_of_units(connection.dialect.name, entity).label("unit_of_key")]
    rows = _alike(connection, entity, sa.select(*columns), texts)
    return {entity.ledger_key_of(row): unit_text(row["unit_of_key"]) for row in rows}


def rows_of_keys(
    connection: sa.Connection, entity: SourceEntity, keys: Sequence[str]
) -> Mapping[str, list[dict[str, Any]]]:
    """Key → its rows, whatever their units: more than one where the key is none."""
    return map_reduce(_matching(connection, entity, sa.select(sa.text("*")), keys), entity.ledger_key_of)


def rows_of_key(connection: sa.Connection, entity: SourceEntity, key: str) -> list[dict[str, Any]]:
    """The rows of that key, whatever their units."""
    return rows_of_keys(connection, entity, [key]).get(key, [])


def row_of_key(connection: sa.Connection, entity: SourceEntity, key: str) -> dict[str, Any] | None:
    """The row of that key, whatever its unit; None when there is none."""
    return next(iter(rows_of_key(connection, entity, key)), None)


def keys_where(connection: sa.Connection, entity: SourceEntity, condition: sa.ColumnElement[bool]) -> set[str]:
    """The keys of the rows for which a condition on the entity's columns holds, whatever their units."""
    statement = sa.select(*key_columns(entity)).select_from(entity_rows(connection.dialect.name, entity))
    return {entity.ledger_key_of(row) for row in stream(connection, statement.where(condition), {})}


def first_row(connection: sa.Connection, entity: SourceEntity, where: str | None = None) -> dict[str, Any] | None:
    """The first row by its key for which the SQL condition `where` on the entity's columns holds; None without one."""
    statement = _chosen(connection.dialect.name, entity, sa.select(sa.text("*"))).limit(1)
    if where:
        statement = statement.where(sa.text(f"({where})".replace(":", "\\:")))
    found = list(stream(connection, statement, {}))  # to the end: warnings come last
    return found[0] if found else None


def refused_queries(connection: sa.Connection, entities: Sequence[SourceEntity]) -> dict[str, SourceError]:
    """Those whose query the database refuses now, and why. One statement where none is, of which it reads no row."""
    if not entities:
        return {}
    dialect = connection.dialect.name
    nothing: sa.Select[Any] = sa.select(sa.literal_column("1")).where(sa.false())
    try:
        with set_apart(connection):
            connection.execute(
                sa.union_all(*(nothing.select_from(entity_rows(dialect, one)) for one in entities))
            ).all()
    except SourceError as error:
        if len(entities) == 1:
            return {entities[0].name: error}
        half = len(entities) // 2
        return refused_queries(connection, entities[:half]) | refused_queries(connection, entities[half:])
    return {}


def _matching(
    connection: sa.Connection, entity: SourceEntity, statement: sa.Select[*tuple[Any, ...]], keys: Sequence[str]
) -> Iterator[dict[str, Any]]:
    plain = [key for key in keys if not is_escaped(key)]
    yield from _exactly(_alike(connection, entity, statement, plain), entity, plain)
    # What the manifest has under an escape cannot be asked for; it is rare, so everything is read.
    if escaped := [key for key in keys if is_escaped(key)]:
        chosen = _chosen(connection.dialect.name, entity, statement)
        yield from _exactly(stream(connection, chosen, {}), entity, escaped)


def _alike(
    connection: sa.Connection, entity: SourceEntity, statement: sa.Select[*tuple[Any, ...]], keys: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """The rows whose key the engine takes for any of `keys`."""
    dialect = connection.dialect.name
    source, columns = entity_rows(dialect, entity), key_columns(entity)
    kinds = kinds_of(connection, columns, source)
    for some in chunked(keys, KEYS_AT_ONCE // len(columns)):
        condition, values = key_condition(dialect, columns, kinds, some)
        if condition is not None:
            yield from stream(connection, _chosen(dialect, entity, statement).where(condition), values)


def _chosen(dialect: str, entity: SourceEntity, statement: sa.Select[*tuple[Any, ...]]) -> sa.Select[*tuple[Any, ...]]:
    return statement.select_from(entity_rows(dialect, entity)).order_by(*key_columns(entity))


def _exactly(rows: Iterator[dict[str, Any]], entity: SourceEntity, keys: Sequence[str]) -> Iterator[dict[str, Any]]:
    wanted = set(keys)
    return (row for row in rows if entity.ledger_key_of(row) in wanted)


def key_condition(
    dialect: str, columns: Sequence[sa.ColumnElement[Any]], kinds: Sequence[Kind], keys: Sequence[str]
) -> tuple[sa.ColumnElement[bool] | None, dict[str, Any]]:
    """The condition under which the key's columns are any of `keys`, and its bound values; None when none can be.

    What an engine takes for equal comes, too.
    """
    compared = [comparable(column, dialect, kind) for column, kind in zip(columns, kinds, strict=True)]
    if len(columns) == 1:
        values = held_values(dialect, kinds[0], keys)
        return (compared[0].in_(_any_of("wanted_keys")), {"wanted_keys": values}) if values else (None, {})
    conditions, bound = list[sa.ColumnElement[bool]](), dict[str, Any]()
    for number, key in enumerate(keys):
        parts = parts_of(key, len(columns))
        held = [held_values(dialect, kind, [part]) for kind, part in zip(kinds, parts or (), strict=bool(parts))]
        if not held or not all(held):
            continue
        names = [f"wanted_{number}_{place}" for place in range(len(columns))]
        bound.update(zip(names, held, strict=True))
        conditions.append(sa.and_(*(one.in_(_any_of(name)) for one, name in zip(compared, names, strict=True))))
    return (sa.or_(*conditions), bound) if conditions else (None, {})


def _any_of(name: str) -> sa.BindParameter[Any]:
    # No type: the driver then sends a value as it is, and PostgreSQL reads text as whatever the column holds.
    return sa.bindparam(name, expanding=True, type_=sa.types.NullType())
