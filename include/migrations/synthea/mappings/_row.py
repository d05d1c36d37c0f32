"""Reading one column of a row of a Synthea export: cells are text, '' is nothing, times are UTC and end in Z."""

from __future__ import annotations

from typing import Any

from medferry.mapping import Context, Row


def text(ctx: Context, row: Row, column: str) -> str | None:
    """Trimmed text, or None for an empty cell."""
    return ctx.text(row[column], column)


def when(ctx: Context, row: Row, column: str) -> str | None:
    """A FHIR dateTime as exact as the cell: a day, or an instant in UTC. Raises Quarantine('impossible-date')."""
    value = text(ctx, row, column)
    if value is None or "T" not in value:
        return ctx.date(value, column)
    if not value.endswith("Z"):
        raise ctx.quarantine("impossible-date", column)
    return ctx.instant(value, column)


def period(ctx: Context, row: Row, start: str = "start", stop: str = "stop") -> dict[str, str] | None:
    """A Period of two columns, or None when both are empty."""
    ends = {"start": when(ctx, row, start), "end": when(ctx, row, stop)}
    return {name: value for name, value in ends.items() if value} or None


def required(ctx: Context, value: Any, column: str) -> Any:
    """`value`, which FHIR wants. Raises Quarantine('missing-required') when the source has none."""
    if value is None:
        raise ctx.quarantine("missing-required", column)
    return value


def subject(ctx: Context, row: Row) -> dict[str, str]:
    """The row's patient. Raises Quarantine('missing-required')."""
    patient: dict[str, str] = required(ctx, ctx.reference("patient", row["patient"]), "patient")
    return patient


def encounter(ctx: Context, row: Row) -> dict[str, str] | None:
    """The encounter at which the row was recorded."""
    return ctx.reference("encounter", row["encounter"])
