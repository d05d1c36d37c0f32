"""The clinics: business units, and organisations within the group."""

from __future__ import annotations

from collections.abc import Iterator

from medferry.mapping import Context, Resource, Row, mapping
from medferry.mapping.datatypes import contact_point, identifier, present

from ._columns import skip_deleted, text
from ._datatypes import NPI, address


@mapping(
    entity="clinic",
    version="1.0.0",
    owner="registration",
    status="approved",
    produces={"main": "Organization"},
    references=("organization",),
)
def clinic(row: Row, ctx: Context) -> Iterator[Resource]:
    """An Organization that is part of the group."""
    skip_deleted(ctx, row)
    yield ctx.resource(
        identifier=present(identifier(NPI, text(ctx, row, "npi"))),
        active=True,
        name=text(ctx, row, "name"),
        telecom=present(contact_point("phone", text(ctx, row, "phone"))),
        address=address(ctx, row, "address_line"),
        partOf=ctx.reference("organization", row["org_id"]),
    )
