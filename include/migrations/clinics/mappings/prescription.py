"""Prescriptions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from medferry.mapping import Context, Resource, Row, mapping

from ._columns import local_time, number, skip_deleted, text
from ._datatypes import element, present


@mapping(
    entity="prescription",
    version="1.0.0",
    owner="pharmacy",
    status="approved",
    produces={"main": "MedicationRequest"},
    references=("patient", "encounter", "staff"),
)
def prescription(row: Row, ctx: Context) -> Iterator[Resource]:
    """A MedicationRequest with the directions as the prescriber wrote them."""
    skip_deleted(ctx, row)
    drug = ctx.code("drug", row["drug_code"], "drug_code", text=text(ctx, row, "drug_text"))
    if drug is None:
        raise ctx.quarantine("missing-required", field="drug_code")
    yield ctx.resource(
        status=ctx.required_code("prescription_status", row["status_code"], "status_code"),
        intent="order",
        medicationCodeableConcept=drug,
        subject=ctx.reference("patient", row["patient_id"]),
        encounter=ctx.reference("encounter", row["encounter_id"]),
        authoredOn=local_time(ctx, row, "written_at"),
        requester=ctx.reference("staff", row["staff_id"]),
        dosageInstruction=present(element(text=text(ctx, row, "sig_text"))),
        dispenseRequest=_dispense(ctx, row),
    )


def _dispense(ctx: Context, row: Row) -> dict[str, Any] | None:
    return element(
        numberOfRepeatsAllowed=number(ctx, row, "refills"),
        quantity=element(value=number(ctx, row, "quantity")),
    )
