"""Immunizations."""

from __future__ import annotations

from collections.abc import Iterator

from medferry.mapping import Context, Resource, Row, mapping

from ._codes import CVX, main_concept
from ._row import encounter, required, subject, when


@mapping(
    entity="immunization",
    version="1.0.0",
    owner="clinical-records",
    status="approved",
    produces={"main": "Immunization"},
    references=("patient", "encounter"),
)
def immunization(row: Row, ctx: Context) -> Iterator[Resource]:
    """An Immunization that was given."""
    yield ctx.resource(
        status="completed",
        vaccineCode=main_concept(ctx, row, CVX),
        patient=subject(ctx, row),
        encounter=encounter(ctx, row),
        occurrenceDateTime=required(ctx, when(ctx, row, "date"), "date"),
    )
