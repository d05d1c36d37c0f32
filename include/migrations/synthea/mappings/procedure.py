"""Procedures."""

from __future__ import annotations

from collections.abc import Iterator

from medferry.mapping import Context, Resource, Row, mapping

from ._codes import main_concept, reason, system_of
from ._row import encounter, period, subject


@mapping(
    entity="procedure",
    version="1.0.0",
    owner="clinical-records",
    status="approved",
    produces={"main": "Procedure"},
    references=("patient", "encounter"),
)
def procedure(row: Row, ctx: Context) -> Iterator[Resource]:
    """A Procedure that was done; the export holds no planned ones."""
    yield ctx.resource(
        status="completed",
        code=main_concept(ctx, row, system_of(ctx, row)),
        subject=subject(ctx, row),
        encounter=encounter(ctx, row),
        performedPeriod=period(ctx, row),
        reasonCode=reason(ctx, row),
    )
