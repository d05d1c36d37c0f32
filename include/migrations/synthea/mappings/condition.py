"""Conditions."""

from __future__ import annotations

from collections.abc import Iterator

from medferry.mapping import Context, Resource, Row, mapping

from ._codes import main_concept, system_of
from ._row import encounter, subject, when

CLINICAL = "http://terminology.hl7.org/CodeSystem/condition-clinical"


@mapping(
    entity="condition",
    version="1.0.0",
    owner="clinical-records",
    status="approved",
    produces={"main": "Condition"},
    references=("patient", "encounter"),
)
def condition(row: Row, ctx: Context) -> Iterator[Resource]:
    """A Condition, resolved when the row has an end (FHIR con-4 wants a clinical status beside an abatement)."""
    ended = when(ctx, row, "stop")
    status = "resolved" if ended else "active"
    yield ctx.resource(
        clinicalStatus={"coding": [{"system": CLINICAL, "code": status}]},
        code=main_concept(ctx, row, system_of(ctx, row)),
        subject=subject(ctx, row),
        encounter=encounter(ctx, row),
        onsetDateTime=when(ctx, row, "start"),
        abatementDateTime=ended,
    )
