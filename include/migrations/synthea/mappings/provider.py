"""Providers: a person and the post the person holds at one organization."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from medferry.mapping import Context, Resource, Row, mapping

from ._address import address
from ._row import text
from .organization import NPI


@mapping(
    entity="provider",
    version="1.0.0",
    owner="operations",
    status="approved",
    produces={"main": "Practitioner", "role": "PractitionerRole"},
    references=("organization",),
)
def provider(row: Row, ctx: Context) -> Iterator[Resource]:
    """A Practitioner and a PractitionerRole with organization and specialty."""
    npi, name, gender = (
        text(ctx, row, "npi"),
        text(ctx, row, "name"),
        ctx.coding("administrative_gender", row["gender"]),
    )
    specialty = ctx.code("speciality", row["speciality"], "speciality")
    yield ctx.resource(
        identifier=[{"system": NPI, "value": npi}] if npi else None,
        name=[_name(name)] if name else None,
        gender=gender["code"] if gender else None,
        address=address(ctx, row),
    )
    yield ctx.resource(
        "role",
        practitioner=ctx.reference("provider", ctx.key),
        organization=ctx.reference("organization", row["organization"]),
        specialty=[specialty] if specialty else None,
    )


def _name(name: str) -> dict[str, Any]:
    """Two words are given and family name; how more divide is not known, so they stay a text."""
    words = name.split()
    return {"text": name, "family": words[1], "given": [words[0]]} if len(words) == 2 else {"text": name}
