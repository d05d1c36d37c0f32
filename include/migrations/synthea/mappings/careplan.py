"""Care plans."""

from __future__ import annotations

from collections.abc import Iterator

from medferry.mapping import Context, Resource, Row, mapping

from ._codes import SNOMED, main_concept, reason
from ._row import encounter, period, subject, text

REASON = "http://hl7.org/fhir/StructureDefinition/workflow-reasonCode"


@mapping(
    entity="careplan",
    version="1.0.0",
    owner="clinical-records",
    status="approved",
    produces={"main": "CarePlan"},
    references=("patient", "encounter"),
)
def careplan(row: Row, ctx: Context) -> Iterator[Resource]:
    """A CarePlan. `addresses` wants a Condition, which the row does not name: its reason is FHIR's reason extension."""
    yield ctx.resource(
        extension=[{"url": REASON, "valueCodeableConcept": found} for found in reason(ctx, row)],
        status="completed" if text(ctx, row, "stop") else "active",
        intent="order",
        category=[main_concept(ctx, row, SNOMED)],
        subject=subject(ctx, row),
        encounter=encounter(ctx, row),
        period=period(ctx, row),
    )
