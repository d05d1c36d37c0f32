"""Supplies handed out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from medferry.mapping import Context, Resource, Row, mapping

from ._codes import SNOMED, main_concept
from ._row import subject, when


@mapping(
    entity="supply",
    version="1.0.0",
    owner="clinical-records",
    status="approved",
    produces={"main": "SupplyDelivery"},
    references=("patient",),
)
def supply(row: Row, ctx: Context) -> Iterator[Resource]:
    """A SupplyDelivery with item and quantity."""
    quantity = ctx.number(row["quantity"], "quantity")
    item: dict[str, Any] = {"itemCodeableConcept": main_concept(ctx, row, SNOMED)}
    if quantity is not None:
        item["quantity"] = {"value": quantity}
    yield ctx.resource(patient=subject(ctx, row), suppliedItem=item, occurrenceDateTime=when(ctx, row, "date"))
