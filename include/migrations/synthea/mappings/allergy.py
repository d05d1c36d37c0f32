"""Allergies and intolerances."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from medferry.mapping import Context, Resource, Row, mapping

from ._codes import SNOMED, concept, main_concept, system_of
from ._row import encounter, subject, when

CLINICAL = "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical"


@mapping(
    entity="allergy",
    version="1.0.0",
    owner="clinical-records",
    status="approved",
    produces={"main": "AllergyIntolerance"},
    references=("patient", "encounter"),
)
def allergy(row: Row, ctx: Context) -> Iterator[Resource]:
    """An AllergyIntolerance with up to two reactions. R4 has no element for its end: that day goes into a note."""
    ended = when(ctx, row, "stop")
    kind = ctx.coding("allergy_type", row["type"], "type")
    category = ctx.coding("allergy_category", row["category"], "category")
    yield ctx.resource(
        clinicalStatus={"coding": [{"system": CLINICAL, "code": "resolved" if ended else "active"}]},
        type=kind["code"] if kind else None,
        category=[category["code"]] if category else None,
        code=main_concept(ctx, row, system_of(ctx, row)),
        patient=subject(ctx, row),
        encounter=encounter(ctx, row),
        recordedDate=when(ctx, row, "start"),
        note=[{"text": f"Ended {ended}"}] if ended else None,
        reaction=[*_reaction(ctx, row, 1), *_reaction(ctx, row, 2)],
    )


def _reaction(ctx: Context, row: Row, number: int) -> list[dict[str, Any]]:
    manifestation = concept(ctx, row, SNOMED, f"reaction{number}", f"description{number}")
    severity = ctx.coding("reaction_severity", row[f"severity{number}"], f"severity{number}")
    if manifestation is None:
        if severity:
            raise ctx.quarantine("missing-required", f"reaction{number}")
        return []
    return [{"manifestation": [manifestation], **({"severity": severity["code"]} if severity else {})}]
