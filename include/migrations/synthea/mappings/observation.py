"""Observations, single ones and panels."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from medferry.mapping import Context, Resource, Row, mapping

from ._codes import LOINC, concept_of, main_concept
from ._row import encounter, required, subject, text, when

UCUM = "http://unitsofmeasure.org"
NOT_CLINICAL = frozenset({"QALY", "DALY", "QOLS"})
"""Quality of life scores that the simulation reckons for every year; no clinician observed them."""

PANELS = {
    "85354-9": "Blood pressure panel with all children optional",
    "93025-5": "Protocol for Responding to and Assessing Patients' Assets, Risks, and Experiences [PRAPARE]",
}
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


@mapping(
    entity="observation",
    version="1.0.0",
    owner="clinical-records",
    status="approved",
    produces={"main": "Observation"},
    references=("patient", "encounter"),
)
def observation(row: Row, ctx: Context) -> Iterator[Resource]:
    """An Observation with its value, or a panel with a component for each of its rows."""
    if text(ctx, row, "code") in NOT_CLINICAL:
        raise ctx.skip("not-clinical")
    if row["panel_code"] and row["part"] != 1:
        raise ctx.skip("part-of-panel")
    category = ctx.coding("observation_category", row["category"], "category")
    yield ctx.resource(
        status="final",
        category=[{"coding": [category]}] if category else None,
        subject=subject(ctx, row),
        encounter=encounter(ctx, row),
        effectiveDateTime=when(ctx, row, "date"),
        **(_panel(ctx, row) if row["panel_code"] else _single(ctx, row)),
    )


def _single(ctx: Context, row: Row) -> dict[str, Any]:
    question, answer = text(ctx, row, "code"), text(ctx, row, "value")
    required(ctx, answer, "value")
    value = _value(ctx, question or "", answer or "", text(ctx, row, "units"), text(ctx, row, "type"))
    return {"code": main_concept(ctx, row, LOINC), **value}


def _panel(ctx: Context, row: Row) -> dict[str, Any]:
    name = PANELS[row["panel_code"]]
    components = [_component(ctx, *cells) for cells in json.loads(row["panel_rows"])]
    return {"code": concept_of(ctx, LOINC, row["panel_code"], name, "panel_code"), "component": components}


def _component(ctx: Context, code: str, description: str, value: str, units: str, kind: str) -> dict[str, Any]:
    concept = concept_of(ctx, LOINC, ctx.text(code), ctx.text(description), "code")
    answer = required(ctx, ctx.text(value, "value"), "value")
    return {"code": concept, **_value(ctx, code, answer, ctx.text(units), ctx.text(kind))}


def _value(ctx: Context, question: str, answer: str, units: str | None, kind: str | None) -> dict[str, Any]:
    """A Quantity of a number, a concept of an answer that the table knows for this question, else the text.

    Synthea calls a number given as an answer "text" too; its unit tells it apart.
    """
    counted = units is not None and not units.startswith("{nominal") and _NUMBER.fullmatch(answer)
    if kind == "numeric" or counted:
        return {"valueQuantity": _quantity(ctx, answer, units)}
    known = ctx.settings.tables["answer"].find(f"{question} {answer}")
    return {"valueCodeableConcept": ctx.code("answer", f"{question} {answer}")} if known else {"valueString": answer}


def _quantity(ctx: Context, answer: str, units: str | None) -> dict[str, Any]:
    """Synthea's units are UCUM, but for those in the table."""
    number = {"value": ctx.number(answer, "value")}
    if units is None:
        return number
    other = ctx.settings.tables["ucum"].find(units)
    return {**number, "unit": units, "system": UCUM, "code": other.code if other else units}
