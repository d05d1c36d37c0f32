"""Appointments."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from medferry.mapping import Columns, Context, InverseContext, Resource, Row, inverse, legacy_table, mapping, new_rows
from medferry.mapping.datatypes import present
from medferry.mapping.values import zone_of

from ._back import clinic_time
from ._columns import local_time, number, skip_deleted, text

_PARTICIPATION = {"pending": "needs-action", "cancelled": "declined"}


@mapping(
    entity="appointment",
    version="1.0.0",
    owner="scheduling",
    status="approved",
    produces={"main": "Appointment"},
    references=("patient", "staff", "location"),
)
def appointment(row: Row, ctx: Context) -> Iterator[Resource]:
    """An Appointment with start and end; FHIR wants both or neither (app-2)."""
    skip_deleted(ctx, row)
    status = ctx.required_code("appointment_status", row["status_code"], "status_code")
    start, minutes = local_time(ctx, row, "starts_at"), number(ctx, row, "minutes")
    if start is None:
        raise ctx.quarantine("missing-required", field="starts_at")
    if minutes is None:
        raise ctx.quarantine("missing-required", field="minutes")
    yield ctx.resource(
        status=status,
        appointmentType=ctx.code("appointment_type", row["type_code"], "type_code"),
        description=text(ctx, row, "reason_text"),
        start=start,
        end=_end(start, minutes, row["time_zone"]),
        minutesDuration=minutes,
        participant=_participants(ctx, row, _PARTICIPATION.get(status, "accepted")),
    )


def _end(start: str, minutes: float, zone: str) -> str:
    """`start` plus `minutes` of real time, with the offset that `zone` has by then."""
    end = datetime.fromisoformat(start) + timedelta(minutes=minutes)
    return end.astimezone(zone_of(zone.strip())).isoformat(timespec="seconds")


def _participants(ctx: Context, row: Row, status: str) -> list[dict[str, Any]]:
    actors = present(
        ctx.reference("patient", row["patient_id"]),
        ctx.reference("staff", row["staff_id"]),
        ctx.reference("location", row["location_id"]),
    )
    return [{"actor": actor, "status": status} for actor in actors]


@inverse(
    entity="appointment",
    tables=(
        legacy_table(
            "appointments",
            key="appointment_id",
            columns=("staff_id", "location_id", "starts_at", "minutes", "status_code", "type_code", "reason_text"),
            touched="updated_at",
        ),
    ),
    # The clinic is that of the room, the patient or who is seen; its zone, and so the time, is known with the row.
    births=new_rows(unit="clinic_id", columns=("patient_id",), times=("starts_at",), unit_by=("participant",)),
)
def appointment_back(resource: Resource, row: Row | None, ctx: InverseContext) -> Columns:
    """Time, status, kind and who takes part; whose appointment it is is said of a new one, and stays."""
    start = resource.get("start")
    minutes = ctx.number(_minutes(resource, row, ctx), "minutes", "minutesDuration", whole=True)
    status, kind = resource.get("status"), resource.get("appointmentType")
    whose = (
        {} if row else {"patient_id": ctx.required(_actor_back(ctx, resource, "patient", "patient_id"), "participant")}
    )
    return {
        **whose,
        **ctx.together(
            {
                "starts_at": ctx.required(clinic_time(ctx, row, start, "starts_at", "start"), "start"),
                "minutes": ctx.required(
                    ctx.number(minutes, "minutes", "minutesDuration", whole=True), "minutesDuration"
                ),
            }
        ),
        "status_code": ctx.required(ctx.code("appointment_status", status, "status_code", "status"), "status"),
        "type_code": ctx.code("appointment_type", kind, "type_code", "appointmentType"),
        "reason_text": ctx.text(resource.get("description"), "reason_text", "description", 200),
        "staff_id": _actor_back(ctx, resource, "staff", "staff_id"),
        "location_id": _actor_back(ctx, resource, "location", "location_id"),
    }


def _minutes(resource: Resource, row: Row | None, ctx: InverseContext) -> Any:
    """From start to end; a duration that was changed and says otherwise is for a person."""
    start, end, said = resource.get("start"), resource.get("end"), resource.get("minutesDuration")
    if not start or not end:
        return said
    minutes = (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds() / 60
    if said not in (None, minutes, row["minutes"] if row else None):
        return ctx.cannot("times-disagree", "minutesDuration")
    return minutes


def _actor_back(ctx: InverseContext, resource: Resource, entity: str, column: str) -> Any:
    """The key of the one participant that is a row of `entity`."""
    kind = ctx.settings.specs[entity].produces["main"]
    actors = [one.get("actor") for one in resource.get("participant") or []]
    of_kind = [actor for actor in actors if actor and str(actor.get("reference")).startswith((f"{kind}?", f"{kind}/"))]
    return ctx.key(entity, ctx.only(of_kind, "participant"), column, "participant")
