"""Buildings and the rooms in them."""

from __future__ import annotations

from collections.abc import Iterator

from medferry.mapping import Context, Resource, Row, mapping

from ._columns import skip_deleted, text


@mapping(
    entity="location",
    version="1.0.0",
    owner="registration",
    status="approved",
    produces={"main": "Location"},
    references=("clinic",),
)
def location(row: Row, ctx: Context) -> Iterator[Resource]:
    """A Location of its clinic, within its building."""
    skip_deleted(ctx, row)
    yield ctx.resource(
        status=ctx.required_code("location_status", row["status_code"], "status_code"),
        name=text(ctx, row, "name"),
        physicalType=ctx.code("location_kind", row["kind_code"], "kind_code"),
        managingOrganization=ctx.reference("clinic", row["clinic_id"]),
        partOf=ctx.reference("location", row["parent_location_id"]),
    )
