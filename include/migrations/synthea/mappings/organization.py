"""Care organizations."""

from __future__ import annotations

from collections.abc import Iterator

from medferry.mapping import Context, Resource, Row, mapping

from ._address import address
from ._row import text

NPI = "http://hl7.org/fhir/sid/us-npi"
TYPES = "http://terminology.hl7.org/CodeSystem/organization-type"


@mapping(
    entity="organization",
    version="1.0.0",
    owner="operations",
    status="approved",
    produces={"main": "Organization"},
)
def organization(row: Row, ctx: Context) -> Iterator[Resource]:
    """An Organization; its type is what the table says it is, a healthcare provider."""
    npi, phone = text(ctx, row, "npi"), text(ctx, row, "phone")
    yield ctx.resource(
        identifier=[{"system": NPI, "value": npi}] if npi else None,
        type=[{"coding": [{"system": TYPES, "code": "prov", "display": "Healthcare Provider"}]}],
        name=text(ctx, row, "name"),
        telecom=[{"system": "phone", "value": phone}] if phone else None,
        address=address(ctx, row),
    )
