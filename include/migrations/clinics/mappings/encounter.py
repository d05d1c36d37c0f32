"""Visits."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from medferry.mapping import Columns, Context, InverseContext, Resource, Row, inverse, legacy_table, mapping
from medferry.mapping.datatypes import element, present

from ._back import clinic_time, inside, single, staff
from ._columns import local_time, skip_deleted, text


@mapping(
    entity="encounter",
    version="1.0.0",
    owner="clinical-data",
    status="approved",
    produces={"main": "Encounter"},
    references=("patient", "staff", "location", "appointment", "clinic"),
)
def encounter(row: Row, ctx: Context) -> Iterator[Resource]:
    """An Encounter; without an end it is still open."""
    skip_deleted(ctx, row)
    visit_class = ctx.coding("encounter_class", row["class_code"], "class_code")
    if visit_class is None:
        raise ctx.quarantine("missing-required", field="class_code")
    yield ctx.resource(
        status=ctx.required_code("encounter_status", row["status_code"], "status_code"),
        class_=visit_class,
        subject=ctx.reference("patient", row["patient_id"]),
        participant=present(element(individual=ctx.reference("staff", row["staff_id"]))),
        appointment=present(ctx.reference("appointment", row["appointment_id"])),
        period=_period(ctx, row),
        reasonCode=present(element(text=text(ctx, row, "reason_text"))),
        location=present(element(location=ctx.reference("location", row["location_id"]))),
        serviceProvider=ctx.reference("clinic", row["clinic_id"]),
    )


def _period(ctx: Context, row: Row) -> dict[str, Any] | None:
    """Start and end. Raises Quarantine('impossible-period') when the visit ends before it starts."""
    start, end = local_time(ctx, row, "started_at"), local_time(ctx, row, "ended_at")
    if start and end and datetime.fromisoformat(end) < datetime.fromisoformat(start):
        raise ctx.quarantine("impossible-period", field="ended_at")
    return element(start=start, end=end)


@inverse(
    entity="encounter",
    tables=(
        legacy_table(
            "encounters",
            key="encounter_id",
            columns=(
                *("staff_id", "location_id", "appointment_id", "class_code", "status_code"),
                *("started_at", "ended_at", "reason_text"),
            ),
            touched="updated_at",
        ),
    ),
)
def encounter_back(resource: Resource, row: Row | None, ctx: InverseContext) -> Columns:
    """The visit; whose it is and at which clinic stays."""
    period, status = resource.get("period"), resource.get("status")
    start, end = inside(period, "start"), inside(period, "end")
    reason = single(ctx, resource, "reasonCode", "text")
    place, booked = single(ctx, resource, "location", "location"), single(ctx, resource, "appointment")
    return {
        "class_code": ctx.required(ctx.code("encounter_class", resource.get("class"), "class_code", "class"), "class"),
        "status_code": ctx.required(ctx.code("encounter_status", status, "status_code", "status"), "status"),
        **ctx.together(
            {
                "started_at": ctx.required(clinic_time(ctx, row, start, "started_at", "period.start"), "period.start"),
                "ended_at": clinic_time(ctx, row, end, "ended_at", "period.end"),
            }
        ),
        "reason_text": ctx.text(reason, "reason_text", "reasonCode.text", 200),
        "staff_id": staff(ctx, single(ctx, resource, "participant", "individual"), "participant.individual"),
        "location_id": ctx.key("location", place, "location_id", "location.location"),
        "appointment_id": ctx.key("appointment", booked, "appointment_id", "appointment"),
    }
