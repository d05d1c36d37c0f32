"""Reading one column of a legacy row, by the conventions of the clinics' system.

Every reader takes the context, the row and the column's name, so that an outcome names the column it is about.
"""

from __future__ import annotations

from medferry.mapping import Context, Row

_FLAGS = {"y": True, "n": False}


def skip_deleted(ctx: Context, row: Row) -> None:
    """Raise Skip('soft-deleted') when the row is deleted. The first decision of every mapping."""
    if row["deleted_at"] is not None:
        raise ctx.skip("soft-deleted")


def text(ctx: Context, row: Row, column: str) -> str | None:
    """Trimmed text or None, as ``ctx.text``."""
    return ctx.text(row[column], column)


def date(ctx: Context, row: Row, column: str) -> str | None:
    """A calendar day (or year, or month) or None, as ``ctx.date``."""
    return ctx.date(row[column], column)


def local_time(ctx: Context, row: Row, column: str) -> str | None:
    """The clinic's wall time as an instant, in the row's `time_zone`. Never read in another zone than the clinic's."""
    zone = ctx.text(row["time_zone"], "time_zone")
    if zone is None:
        raise ctx.quarantine("missing-required", field="time_zone")
    return ctx.instant(row[column], column, zone)


def number(ctx: Context, row: Row, column: str) -> int | float | None:
    """An exact number or None, as ``ctx.number``."""
    return ctx.number(row[column], column)


def flag(ctx: Context, row: Row, column: str) -> bool:
    """A `Y`/`N` column. Raises Quarantine: 'missing-required', or 'unmapped-code' for another letter."""
    value = ctx.text(row[column], column)
    if value is None:
        raise ctx.quarantine("missing-required", field=column)
    if value.casefold() not in _FLAGS:
        raise ctx.quarantine("unmapped-code", field=column)
    return _FLAGS[value.casefold()]


def is_later(one: str, other: str) -> bool:
    """True when date `one` is after date `other`, as far as both are known (2019 is not after 2019-03)."""
    known = min(len(one), len(other))
    return one[:known] > other[:known]
