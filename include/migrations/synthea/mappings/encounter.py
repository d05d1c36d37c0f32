"""Encounters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from medferry.mapping import Context, Resource, Row, mapping

from ._codes import SNOMED, main_concept, reason
from ._row import period, required, subject, text


@mapping(
    entity="encounter",
    version="1.0.0",
    owner="clinical-records",
    status="approved",
    produces={"main": "Encounter"},
    references=("patient", "organization", "provider"),
)
def encounter(row: Row, ctx: Context) -> Iterator[Resource]:
    """An Encounter. FHIR's class is coarser than Synthea's, which stays as a second type."""
    seen_by = ctx.reference("provider", row["provider"])
    yield ctx.resource(
        status="finished" if text(ctx, row, "stop") else "in-progress",
        class_=required(ctx, ctx.coding("encounter_class", row["encounterclass"], "encounterclass"), "encounterclass"),
        type=[main_concept(ctx, row, SNOMED), _own_class(ctx, row)],
        subject=subject(ctx, row),
        participant=[{"individual": seen_by}] if seen_by else None,
        period=period(ctx, row),
        reasonCode=reason(ctx, row),
        serviceProvider=ctx.reference("organization", row["organization"]),
    )


def _own_class(ctx: Context, row: Row) -> dict[str, Any]:
    own = ctx.local_coding("encounter_class", row["encounterclass"], "encounterclass")
    return {"coding": [required(ctx, own, "encounterclass")], "text": text(ctx, row, "encounterclass")}
