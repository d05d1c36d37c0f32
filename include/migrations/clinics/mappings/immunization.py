"""Immunizations, given and refused."""

from __future__ import annotations

from collections.abc import Iterator

from medferry.mapping import Columns, Context, InverseContext, Resource, Row, inverse, legacy_table, mapping
from medferry.mapping.datatypes import element, present

from ._back import single, staff
from ._columns import date, is_later, skip_deleted, text


@mapping(
    entity="immunization",
    version="1.0.0",
    owner="clinical-data",
    status="approved",
    produces={"main": "Immunization"},
    references=("patient", "encounter", "staff"),
)
def immunization(row: Row, ctx: Context) -> Iterator[Resource]:
    """An Immunization, unless an earlier row already says the same."""
    skip_deleted(ctx, row)
    given = _given_on(ctx, row)
    if row["earlier_id"] is not None:
        raise ctx.quarantine("duplicate-record")
    yield ctx.resource(
        status=ctx.required_code("immunization_status", row["status_code"], "status_code"),
        vaccineCode=ctx.code("vaccine", row["vaccine_code"], "vaccine_code"),
        patient=ctx.reference("patient", row["patient_id"]),
        encounter=ctx.reference("encounter", row["encounter_id"]),
        occurrenceDateTime=given,
        lotNumber=text(ctx, row, "lot_no"),
        site=ctx.code("body_site", row["site_code"], "site_code"),
        performer=present(element(actor=ctx.reference("staff", row["staff_id"]))),
    )


def _given_on(ctx: Context, row: Row) -> str:
    """The day, which FHIR requires. Raises Quarantine: 'missing-required', or 'impossible-date' for a later day."""
    given = date(ctx, row, "given_on")
    if given is None:
        raise ctx.quarantine("missing-required", field="given_on")
    if is_later(given, row["updated_at"][:10]):
        raise ctx.quarantine("impossible-date", field="given_on")
    return given


@inverse(
    entity="immunization",
    tables=(
        legacy_table(
            "immunizations",
            key="immunization_id",
            columns=("staff_id", "encounter_id", "vaccine_code", "given_on", "lot_no", "site_code", "status_code"),
            touched="updated_at",
        ),
    ),
)
def immunization_back(resource: Resource, row: Row | None, ctx: InverseContext) -> Columns:  # noqa: ARG001
    """The immunization, by the day; who received it stays."""
    vaccine, status, given = resource.get("vaccineCode"), resource.get("status"), resource.get("occurrenceDateTime")
    day = ctx.date(given, "given_on", "occurrenceDateTime", whole=True)
    return {
        "status_code": ctx.required(ctx.code("immunization_status", status, "status_code", "status"), "status"),
        "vaccine_code": ctx.required(ctx.code("vaccine", vaccine, "vaccine_code", "vaccineCode"), "vaccineCode"),
        "given_on": ctx.required(day, "occurrenceDateTime"),
        "lot_no": ctx.text(resource.get("lotNumber"), "lot_no", "lotNumber", 40),
        "site_code": ctx.code("body_site", resource.get("site"), "site_code", "site"),
        "encounter_id": ctx.key("encounter", resource.get("encounter"), "encounter_id", "encounter"),
        "staff_id": staff(ctx, single(ctx, resource, "performer", "actor"), "performer.actor"),
    }
