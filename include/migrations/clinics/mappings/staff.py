"""People who work at the clinics."""

from __future__ import annotations

from collections.abc import Iterator

from medferry.mapping import Context, Resource, Row, mapping
from medferry.mapping.datatypes import contact_point, element, identifier, present

from ._columns import flag, skip_deleted, text
from ._datatypes import NPI, local_identifier


@mapping(
    entity="staff",
    version="1.0.0",
    owner="human-resources",
    status="approved",
    produces={"main": "Practitioner"},
)
def staff(row: Row, ctx: Context) -> Iterator[Resource]:
    """A Practitioner with personnel number, NPI and credential."""
    skip_deleted(ctx, row)
    name = element(family=text(ctx, row, "family_name"), given=present(text(ctx, row, "given_name")))
    credential = ctx.code("staff_credential", row["credential_code"], "credential_code")
    yield ctx.resource(
        identifier=present(
            local_identifier(ctx, "staff-number", text(ctx, row, "staff_no")),
            identifier(NPI, text(ctx, row, "npi")),
        ),
        active=flag(ctx, row, "active_flag"),
        name=present(name),
        telecom=present(
            contact_point("phone", text(ctx, row, "phone")), contact_point("email", text(ctx, row, "email"))
        ),
        gender=ctx.row.optional_code("sex", "sex_code"),
        qualification=present(element(code=credential)),
    )
