"""Appointments."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from medferry.mapping import Context, Resource, Row, mapping
from medferry.mapping.values import zone_of

from ._columns import local_time, number, skip_deleted, text
from ._datatypes import present

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
