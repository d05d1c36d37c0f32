"""Payers of care."""

from __future__ import annotations

from collections.abc import Iterator

from medferry.mapping import Context, Resource, Row, mapping

from ._address import address
from ._row import text
from .organization import TYPES

NO_INSURANCE = "NO_INSURANCE"
"""The name under which Synthea counts what nobody insured; it is no organization."""


@mapping(entity="payer", version="1.0.0", owner="finance", status="approved", produces={"main": "Organization"})
def payer(row: Row, ctx: Context) -> Iterator[Resource]:
    """An Organization of the type payer, with its ownership as the export calls it."""
    name, phone, ownership = text(ctx, row, "name"), text(ctx, row, "phone"), text(ctx, row, "ownership")
    if name == NO_INSURANCE:
        raise ctx.skip("not-an-organization")
    kind = {"coding": [{"system": TYPES, "code": "pay", "display": "Payer"}]}
    yield ctx.resource(
        type=[kind, {"text": ownership}] if ownership else [kind],
        name=name,
        telecom=[{"system": "phone", "value": phone}] if phone else None,
        address=address(ctx, row, state="state_headquartered"),
    )
