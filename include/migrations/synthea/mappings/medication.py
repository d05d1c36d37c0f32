"""Prescriptions."""

from __future__ import annotations

from collections.abc import Iterator

from medferry.mapping import Context, Resource, Row, mapping

from ._codes import RXNORM, main_concept, reason
from ._row import encounter, period, subject, text, when


@mapping(
    entity="medication",
    version="1.0.0",
    owner="clinical-records",
    status="approved",
    produces={"main": "MedicationRequest"},
    references=("patient", "encounter"),
)
def medication(row: Row, ctx: Context) -> Iterator[Resource]:
    """A MedicationRequest. From when to when it is taken goes into the dosage's timing; the CSV holds no dose."""
    taken = period(ctx, row)
    yield ctx.resource(
        status="stopped" if text(ctx, row, "stop") else "active",
        intent="order",
        medicationCodeableConcept=main_concept(ctx, row, RXNORM),
        subject=subject(ctx, row),
        encounter=encounter(ctx, row),
        authoredOn=when(ctx, row, "start"),
        reasonCode=reason(ctx, row),
        dosageInstruction=[{"timing": {"repeat": {"boundsPeriod": taken}}}] if taken else None,
    )
