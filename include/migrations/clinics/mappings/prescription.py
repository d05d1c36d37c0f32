"""Prescriptions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from medferry.mapping import Columns, Context, InverseContext, Resource, Row, inverse, legacy_table, mapping
from medferry.mapping.datatypes import element, present
from medferry.mapping.inverse import Inexpressible

from ._back import amount, clinic_time, inside, single, staff
from ._columns import local_time, number, skip_deleted, text


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


@inverse(
    entity="prescription",
    tables=(
        legacy_table(
            "prescriptions",
            key="prescription_id",
            columns=(
                *("staff_id", "encounter_id", "drug_code", "drug_text", "sig_text", "quantity", "refills"),
                *("written_at", "status_code"),
            ),
            touched="updated_at",
        ),
    ),
)
def prescription_back(resource: Resource, row: Row | None, ctx: InverseContext) -> Columns:
    """The prescription; whose it is stays."""
    drug, status = resource.get("medicationCodeableConcept"), resource.get("status")
    dispense, sig = resource.get("dispenseRequest"), single(ctx, resource, "dosageInstruction", "text")
    refills, quantity = inside(dispense, "numberOfRepeatsAllowed"), _quantity_back(dispense, ctx)
    written = clinic_time(ctx, row, resource.get("authoredOn"), "written_at", "authoredOn")
    return {
        "status_code": ctx.required(ctx.code("prescription_status", status, "status_code", "status"), "status"),
        **ctx.together(
            {
                "drug_code": ctx.code("drug", drug, "drug_code", "medicationCodeableConcept"),
                "drug_text": ctx.words("drug", drug, "drug_text", "medicationCodeableConcept", 200),
            }
        ),
        "sig_text": ctx.text(sig, "sig_text", "dosageInstruction.text", 400),
        "quantity": ctx.number(quantity, "quantity", "dispenseRequest.quantity"),
        "refills": ctx.number(refills, "refills", "dispenseRequest.numberOfRepeatsAllowed", whole=True),
        "written_at": ctx.required(written, "authoredOn"),
        "encounter_id": ctx.key("encounter", resource.get("encounter"), "encounter_id", "encounter"),
        "staff_id": staff(ctx, resource.get("requester"), "requester"),
    }


def _quantity_back(dispense: Any, ctx: InverseContext) -> Any:
    """How much is given out. The legacy system has no unit for it."""
    quantity, path = inside(dispense, "quantity"), "dispenseRequest.quantity"
    if any(inside(quantity, member) for member in ("unit", "code")):
        return ctx.cannot(Inexpressible.NO_PLACE, path)
    return amount(ctx, quantity, path)
