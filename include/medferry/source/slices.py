"""Cut a source entity into slices by count: small units share one, large units are split by key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from more_itertools import chunked

from medferry.errors import SourceError
from medferry.source.database import stream
from medferry.source.dialects import as_text
from medferry.source.entity import SourceEntity
from medferry.source.keys import fault_of, key_text
from medferry.source.kinds import INFINITIES, Kind, bound_value, compared, kinds_of, ordered, rebound

_BEGINS_WITH = re.compile(r"(?:\s|/\*.*?\*/)*WITH\b", re.IGNORECASE | re.DOTALL)

_HOLDS = {
    Kind.WHOLE: re.compile(r"-?[0-9]{1,18}"),
    Kind.EXACT: re.compile(r"-?[0-9]{1,38}(\.[0-9]{1,38})?"),
    Kind.UUID: re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"),
}
"""How a unit of the plan reads that a column of such a kind can hold."""

_BINARY_COLLATIONS = {"sqlite": "BINARY", "postgresql": "C"}

_COUNTED_AT_ONCE = 32
"""Slices a statement, when what was cut is counted again: each row is compared with half of their ends."""

Bound = Any
"""A key as JSON from which the engine's own value can be made again; a list for a key of several columns."""


@dataclass(frozen=True, slots=True)
class SliceSpec:
    """A piece of one entity: whole units, or one unit's keys in (low, high]; None is open. `rows` is the count.

    With `keys`, exactly these keys (as text) of the units.
    """

    entity: str
    units: tuple[str, ...]
    low: Bound | None
    high: Bound | None
    rows: int
    keys: tuple[str, ...] | None = None


def cut(
    connection: sa.Connection, entity: SourceEntity, counts: dict[str, int], rows_per_slice: int, whole: bool = False
) -> list[SliceSpec]:
    """Slices that together hold every row of `counts` exactly once. `whole` keeps the entity in one slice."""
    if whole:
        units = tuple(sorted(unit for unit, rows in counts.items() if rows))
        return [SliceSpec(entity.name, units, None, None, sum(counts.values()))] if units else []
    slices: list[SliceSpec] = []
    together: list[str] = []
    weight = 0
    for unit in sorted(counts):
        rows = counts[unit]
        if rows > rows_per_slice:
            pieces = list(_split(connection, entity, unit, rows, rows_per_slice))
            for some in chunked(pieces, _COUNTED_AT_ONCE):
                _count_again(connection, entity, some)
            slices.extend(pieces)
        elif rows:
            if weight + rows > rows_per_slice:
                slices.append(SliceSpec(entity.name, tuple(together), None, None, weight))
                together, weight = [], 0
            together.append(unit)
            weight += rows
    if together:
        slices.append(SliceSpec(entity.name, tuple(together), None, None, weight))
    return slices


def _split(
    connection: sa.Connection, entity: SourceEntity, unit: str, rows: int, rows_per_slice: int
) -> Iterator[SliceSpec]:
    """Split one unit at every `rows_per_slice`-th key of the engine's own order."""
    dialect, keys = connection.dialect.name, key_columns(entity)
    kinds = kinds_of(connection, keys, entity_rows(dialect, entity))
    order = [ordered(key, dialect, kind) for key, kind in zip(keys, kinds, strict=True)]
    numbered = (
        sa.select(*keys, sa.func.row_number().over(order_by=order).label("row_number_of_key"))
        .select_from(entity_rows(dialect, entity))
        .where(of_units(dialect, entity, [unit]))
        .subquery("numbered")
    )
    place = numbered.c.row_number_of_key
    nth = sa.select(*(numbered.c[name] for name in entity.key), place).where(place % rows_per_slice == 0)
    found = (list(row.values()) for row in stream(connection, nth.order_by(place), {}))
    ends = [(int(number), held) for *held, number in found]
    # A key that cannot be sent back to the engine is no bound: its slice goes on to the next.
    ends = [(number, held) for number, held in ends if number < rows and _is_bound(held, dialect)]
    low, before = None, 0
    for number, held in ends:
        high = [bound_value(value, kind) for value, kind in zip(held, kinds, strict=True)]
        high = high[0] if len(high) == 1 else high
        yield SliceSpec(entity.name, (unit,), low, high, number - before)
        low, before = high, number
    yield SliceSpec(entity.name, (unit,), low, None, rows - before)


def _is_bound(held: Sequence[Any], dialect: str) -> bool:
    """SQLite's infinity arrives as text, and among its texts it would have another place."""
    values = [None if dialect == "sqlite" and value in INFINITIES else value for value in held]
    return all(isinstance(value, float) or fault_of(key_text(value)) is None for value in values)


def _count_again(connection: sa.Connection, entity: SourceEntity, pieces: Sequence[SliceSpec]) -> None:
    """Count by their bounds, as they will be read, what slices that follow each other were cut to hold.

    A row counts for the first piece that does not end before it. None of them is empty; so where all counts are as cut,
    each bound comes after the one before it, and every row is in one piece. Raises SourceError where they are not.
    """
    dialect, keys = connection.dialect.name, key_columns(entity)
    ends, values, within = list[tuple[sa.ColumnElement[bool], int]](), dict[str, Any](), list[sa.ColumnElement[bool]]()
    for place, piece in enumerate(pieces):
        if piece.high is not None:
            beyond, bound = _beyond(keys, f"high_{place}", piece.high)
            ends.append((sa.not_(beyond), place))
            values |= bound
    if not ends:
        return
    if pieces[0].low is not None:
        beyond, bound = _beyond(keys, "low", pieces[0].low)
        within.append(beyond)
        values |= bound
    if len(ends) == len(pieces):
        within.append(ends[-1][0])
    placed = sa.select(sa.case(*ends, else_=len(ends)).label("place")).select_from(entity_rows(dialect, entity))
    each = placed.where(of_units(dialect, entity, pieces[0].units), *within).subquery("placed")
    counted = sa.select(each.c.place, sa.func.count().label("number")).group_by(each.c.place)
    found = {int(row["place"]): int(row["number"]) for row in stream(connection, counted, values)}
    if [found.get(place, 0) for place in range(len(pieces))] != [piece.rows for piece in pieces]:
        name = " and ".join(entity.key)
        raise SourceError(
            f"{entity.path}: {entity.name} cannot be cut into slices by {name}: the legacy database orders it in one "
            "way, and compares it in another, so that rows would be read twice or not at all.",
            "Cast it to a plain text or number in the entity's SQL and in its checks, or choose another key; or have "
            "no unit cut, by `slice_rows` (--slice-rows) of more rows than it has.",
        )


def rows_of(
    dialect: str,
    entity: SourceEntity,
    units: Sequence[str] | None,
    low: Bound | None,
    high: Bound | None,
    limit: int | None = None,
) -> tuple[sa.Select[Any], dict[str, Any]]:
    """The SELECT of a slice in key order, and its bound values. Without `units`, of all."""
    keys = key_columns(entity)
    statement = sa.select(sa.text("*")).select_from(entity_rows(dialect, entity)).order_by(*keys)
    if units is not None:
        statement = statement.where(of_units(dialect, entity, units))
    values: dict[str, Any] = {}
    if low is not None:
        condition, bound = _beyond(keys, "low", low)
        statement, values = statement.where(condition), values | bound
    if high is not None:
        condition, bound = _beyond(keys, "high", high)
        statement, values = statement.where(sa.not_(condition)), values | bound
    return (statement.limit(limit) if limit is not None else statement), values


def _beyond(
    keys: Sequence[sa.ColumnElement[Any]], name: str, bound: Bound
) -> tuple[sa.ColumnElement[bool], dict[str, Any]]:
    """The condition that a key comes after `bound`, column by column, and the values of it."""
    bounds = bound if isinstance(bound, list) else [bound]
    keys = [compared(key, one) for key, one in zip(keys, bounds, strict=True)]
    held = [rebound(one) for one in bounds]
    names = [f"{name}_{place}" for place in range(len(held))]
    alternatives = []
    for place, (key, of_key) in enumerate(zip(keys, names, strict=True)):
        equal = [one == sa.bindparam(same) for one, same in zip(keys[:place], names[:place], strict=True)]
        alternatives.append(sa.and_(*equal, key > sa.bindparam(of_key)))
    return sa.or_(*alternatives), dict(zip(names, held, strict=True))


def of_units(dialect: str, entity: SourceEntity, units: Iterable[str]) -> sa.ColumnElement[bool]:
    """The condition that a row's unit reads exactly as one of `units`.

    The engine's own comparison stands before it, which an index serves, and which takes `north` for `North` where the
    column's collation does.
    """
    texts = list(units)
    # SQLite does not compare a number with a text, the others read a text as what the column holds.
    numbers = [int(text) for text in texts if dialect == "sqlite" and text.isdecimal() and str(int(text)) == text]
    wanted = sa.bindparam("wanted_units", [*texts, *numbers], expanding=True, type_=sa.types.NullType())
    alike = sa.column(entity.unit).in_(wanted)
    return sa.and_(alike, _reads_as(dialect, texts_of_units(dialect, entity), texts))


def _reads_as(dialect: str, text: sa.ColumnElement[str], texts: Sequence[str]) -> sa.ColumnElement[bool]:
    """Letter for letter and blank for blank, whatever the collation of `text`."""
    if dialect == "mssql":
        return _bytes_of(text).in_([_bytes_of(sa.cast(sa.literal(one), sa.NVARCHAR(4000))) for one in texts])
    if dialect in _BINARY_COLLATIONS:
        text, held = text.collate(_BINARY_COLLATIONS[dialect]), list(texts)
    else:
        text, held = sa.func.hex(text), [one.encode("utf-8", "surrogatepass").hex().upper() for one in texts]
    return text.in_(sa.bindparam("exact_units", held, expanding=True, type_=sa.types.NullType()))


def units_held(connection: sa.Connection, entity: SourceEntity, units: Iterable[str]) -> list[str]:
    """Of `units` those that the unit's column can hold: a column of integers is not compared with a name.

    PostgreSQL refuses it, MySQL takes the name for 0, with a warning. What else a column can hold (of an enumeration,
    a date, a truth value) only its rows say: those that there are. Raises SourceError.
    """
    dialect = connection.dialect.name
    (kind,) = kinds_of(connection, [sa.column(entity.unit)], entity_rows(dialect, entity))
    if kind in (Kind.TEXT, Kind.OWN, Kind.LISTED, Kind.BYTES):
        return list(units)
    if form := _HOLDS.get(kind):
        return [unit for unit in units if form.fullmatch(unit)]
    asked = sa.select(texts_of_units(dialect, entity).label("unit")).select_from(entity_rows(dialect, entity))
    there = {row["unit"] for row in stream(connection, asked.distinct(), {})}
    return [unit for unit in units if unit in there]


def texts_of_units(dialect: str, entity: SourceEntity) -> sa.ColumnElement[str]:
    """The unit's column as text, without the padding of a CHAR column."""
    column: sa.ColumnClause[Any] = sa.column(entity.unit)
    if dialect == "sqlite":
        return sqlite_text(column)
    text = as_text(dialect, column)
    return sa.func.rtrim(text) if dialect == "mssql" else text


def sqlite_text(column: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
    """SQLite tells the number 1 from the text '1' in one column; as keys and units they are the same."""
    whole = sa.and_(sa.func.typeof(column) == "real", column == sa.cast(column, sa.Integer))
    return sa.case((whole, sa.cast(sa.cast(column, sa.Integer), sa.Text)), else_=sa.cast(column, sa.Text))


def apart_by(dialect: str, text: sa.ColumnElement[str]) -> list[sa.ColumnElement[Any]]:
    """What texts are grouped by, so that those are kept apart that only the engine's collation takes for equal."""
    if dialect == "mssql":  # its binary values of two lengths are equal where zeros alone are more
        return [_bytes_of(text), sa.func.datalength(text)]
    return [text.collate("C")] if dialect == "postgresql" else [sa.func.hex(text), text.is_(None)]


def _bytes_of(text: sa.ColumnElement[str]) -> sa.ColumnElement[Any]:
    """On SQL Server."""
    return sa.func.convert(sa.literal_column("varbinary(max)"), text)


def key_columns(entity: SourceEntity) -> list[sa.ColumnClause[Any]]:
    return [sa.column(name) for name in entity.key]


def entity_rows(dialect: str, entity: SourceEntity) -> sa.TextClause:
    """The entity's query, to be selected from. Raises SourceError for what the engine cannot select from."""
    # A colon of the user's SQL (a time, a cast) must not be read as a bind parameter, nor a comment at its end go on.
    query = entity.query(dialect)
    if dialect == "mssql" and _BEGINS_WITH.match(query):
        raise SourceError(
            f"{entity.path}: SQL Server takes no WITH inside of another query, as {entity.name} is read.",
            "Write what it names as derived tables (FROM (SELECT …) AS name), or make a view of it.",
        )
    escaped = query.replace(":", "\\:")
    return sa.text(f"(\n{escaped}\n) AS entity_rows")
