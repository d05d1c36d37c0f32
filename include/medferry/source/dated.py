"""Rows by their date: those of a period, and whether there are any."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from medferry.plan.periods import Period
from medferry.source.database import stream
from medferry.source.entity import SourceEntity
from medferry.source.keys import unit_text
from medferry.source.slices import entity_rows, key_columns, of_units, texts_of_units, units_held


def keys_of_period(
    connection: sa.Connection, entity: SourceEntity, units: list[str], period: Period, limit: int | None = None
) -> dict[str, str]:
    """Key → unit of the rows of some units in a period; of an entity without a date, of all. Raises SourceError.

    The database compares the date, in its own time: every row is in exactly one of periods that follow each other.
    """
    dialect, held = connection.dialect.name, units_held(connection, entity, units)
    columns = [*key_columns(entity), texts_of_units(dialect, entity).label("unit_of_key")]
    statement = sa.select(*columns).select_from(entity_rows(dialect, entity)).where(of_units(dialect, entity, held))
    values: dict[str, Any] = {}
    if entity.dated is not None:
        condition, values = _within(sa.column(entity.dated), period)
        statement = statement.where(condition)
    rows = stream(connection, statement.limit(limit), values)
    return {entity.ledger_key_of(row): unit_text(row["unit_of_key"]) for row in rows}


def _within(date: sa.ColumnClause[Any], period: Period) -> tuple[sa.ColumnElement[bool], dict[str, Any]]:
    """The condition that a date is in a period, and its bound values: days as text, which engines read as dates."""
    conditions: list[sa.ColumnElement[bool]] = []
    if period.start is not None:
        conditions.append(date >= sa.bindparam("period_start", type_=sa.types.NullType()))
    if period.end is not None:
        conditions.append(date < sa.bindparam("period_end", type_=sa.types.NullType()))
    within = sa.and_(sa.true(), *conditions)
    bounds = {"period_start": period.start, "period_end": period.end}
    values = {name: day.isoformat() for name, day in bounds.items() if day is not None}
    return (within if period.start is not None else sa.or_(within, date.is_(None))), values
