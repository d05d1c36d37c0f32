"""Cut a source entity into slices by count: small units share one, large units are split by key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from medferry.errors import SourceError
from medferry.source.database import json_value
from medferry.source.entity import SourceEntity

Key = int | str
"""A source key as the engine compares it."""


@dataclass(frozen=True, slots=True)
class SliceSpec:
    """A piece of one entity: whole units, or one unit's keys in (low, high]; None is open. `rows` is the count.

    With `keys`, exactly these keys (as text) of the units.
    """

    entity: str
    units: tuple[str, ...]
    low: Key | None
    high: Key | None
    rows: int
    keys: tuple[str, ...] | None = None


def count_by_unit(connection: sa.Connection, entity: SourceEntity, plan_units: Iterable[str]) -> dict[str, int]:
    """Eligible rows of every unit of the plan, by a query of its own.

    Raises SourceError when rows belong to no unit of the plan or when the key is not unique: such rows could be
    neither assigned nor accounted for.
    """
    inner = _inner(connection, entity)
    unit, key = _column(entity.unit), _column(entity.key)
    found = connection.execute(sa.select(unit, sa.func.count()).select_from(inner).group_by(unit)).all()
    counts = {None if name is None else str(name): int(number) for name, number in found}
    known = set(plan_units)
    strays = sorted(str(name) for name in counts if name not in known)
    if strays:
        rows = sum(number for name, number in counts.items() if name not in known)
        raise SourceError(
            f"{rows} rows of {entity.name} belong to units that the plan does not name: {', '.join(strays[:10])}.",
            "Add the units to the plan, or leave the rows out in the entity's SQL.",
        )
    total, with_key, distinct = connection.execute(
        sa.select(sa.func.count(), sa.func.count(key), sa.func.count(sa.distinct(key))).select_from(inner)
    ).one()
    if not total == with_key == distinct:
        raise SourceError(
            f"The key {entity.key} of {entity.name} is not unique: {total} rows, {distinct} keys.",
            "Choose another key, or make one in the entity's SQL.",
        )
    return {str(name): number for name, number in counts.items()}


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
            slices.extend(_split(connection, entity, unit, rows, rows_per_slice))
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
) -> Iterable[SliceSpec]:
    """Split one unit at every `rows_per_slice`-th key of the engine's own order."""
    key = _column(entity.key)
    numbered = (
        sa.select(key.label("k"), sa.func.row_number().over(order_by=key).label("n"))
        .select_from(_inner(connection, entity))
        .where(_column(entity.unit) == unit)
        .subquery("numbered")
    )
    nth = sa.select(numbered.c.k).where(numbered.c.n % rows_per_slice == 0).order_by(numbered.c.n)
    bounds = [json_value(bound) for bound in connection.scalars(nth)]
    if rows % rows_per_slice == 0:
        bounds.pop()
    lows: Sequence[Key | None] = [None, *bounds]
    highs: Sequence[Key | None] = [*bounds, None]
    last = rows - rows_per_slice * len(bounds)
    for low, high in zip(lows, highs, strict=True):
        yield SliceSpec(entity.name, (unit,), low, high, last if high is None else rows_per_slice)


def rows_of(
    dialect: str,
    entity: SourceEntity,
    units: Sequence[str],
    low: Key | None,
    high: Key | None,
    limit: int | None = None,
) -> tuple[sa.Select[Any], dict[str, Any]]:
    """The SELECT of a slice in key order, and its bound values."""
    unit, key = _column(entity.unit), _column(entity.key)
    statement = sa.select(sa.text("*")).select_from(entity_rows(dialect, entity))
    statement = statement.where(unit.in_(list(units))).order_by(key)
    values: dict[str, Any] = {}
    if low is not None:
        statement, values["low"] = statement.where(key > sa.bindparam("low")), low
    if high is not None:
        statement, values["high"] = statement.where(key <= sa.bindparam("high")), high
    return (statement.limit(limit) if limit is not None else statement), values


def row_by_key(dialect: str, entity: SourceEntity, key: Key) -> tuple[sa.Select[Any], dict[str, Any]]:
    """The SELECT of one row by its key, as the command line's ``try`` uses it."""
    statement = sa.select(sa.text("*")).select_from(entity_rows(dialect, entity))
    return statement.where(_column(entity.key) == sa.bindparam("key")), {"key": key}


def keys_and_units(dialect: str, entity: SourceEntity) -> sa.Select[Any]:
    """The SELECT of every row's key and unit, as `key` and `unit`."""
    columns = (_column(entity.key).label("key"), _column(entity.unit).label("unit"))
    return sa.select(*columns).select_from(entity_rows(dialect, entity))


def _inner(connection: sa.Connection, entity: SourceEntity) -> sa.TextClause:
    return entity_rows(connection.dialect.name, entity)


def entity_rows(dialect: str, entity: SourceEntity) -> sa.TextClause:
    """The entity's query, to be selected from."""
    # A colon of the user's SQL (a time, a cast) must not be read as a bind parameter.
    escaped = entity.query(dialect).replace(":", "\\:")
    return sa.text(f"({escaped}) AS entity_rows")


def _column(name: str) -> sa.ColumnClause[Any]:
    return sa.column(name)
