"""Who works at which clinic, and as what."""

from __future__ import annotations

from collections.abc import Iterator

from medferry.mapping import Context, Resource, Row, mapping
from medferry.mapping.datatypes import element, present

from ._columns import date, skip_deleted


@mapping(
    entity="assignment",
    version="1.0.0",
    owner="human-resources",
    status="approved",
    produces={"main": "PractitionerRole"},
    references=("staff", "clinic"),
)
def assignment(row: Row, ctx: Context) -> Iterator[Resource]:
    """A PractitionerRole, active as long as no end is recorded."""
    skip_deleted(ctx, row)
    start, end = date(ctx, row, "start_on"), date(ctx, row, "end_on")
    yield ctx.resource(
        active=end is None,
        period=element(start=start, end=end),
        practitioner=ctx.reference("staff", row["staff_id"]),
        organization=ctx.reference("clinic", row["clinic_id"]),
        code=present(ctx.code("staff_role", row["role_code"], "role_code")),
        specialty=present(ctx.code("specialty", row["specialty_code"], "specialty_code")),
    )
