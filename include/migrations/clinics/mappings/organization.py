"""The group that runs the clinics."""

from __future__ import annotations

from collections.abc import Iterator

from medferry.mapping import Context, Resource, Row, mapping
from medferry.mapping.datatypes import contact_point, identifier, present

from ._columns import skip_deleted, text
from ._datatypes import NPI, address


@mapping(
    entity="organization",
    version="1.0.0",
    owner="registration",
    status="approved",
    produces={"main": "Organization"},
)
def organization(row: Row, ctx: Context) -> Iterator[Resource]:
    """An Organization with its NPI, phone and address."""
    skip_deleted(ctx, row)
    yield ctx.resource(
        identifier=present(identifier(NPI, text(ctx, row, "npi"))),
        active=True,
        name=text(ctx, row, "name"),
        telecom=present(contact_point("phone", text(ctx, row, "phone"))),
        address=address(ctx, row, "address_line"),
    )
