"""Vital signs: one Observation for each measure of a row, in the unit in which it was taken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from medferry.mapping import Context, Resource, Row, mapping

from ._columns import local_time, number, skip_deleted, text
from ._datatypes import OBSERVATION_CATEGORY, concept, element, present, quantity

_UCUM = "http://unitsofmeasure.org"
# Measure → the UCUM units it may be in → the values that can be meant in that unit (README of the legacy system).
_RANGES: dict[str, dict[str, tuple[float, float]]] = {
    "weight": {"kg": (0.3, 350), "[lb_av]": (0.7, 770)},
    "height": {"cm": (20, 250), "[in_i]": (8, 98)},
    "temperature": {"Cel": (25, 45), "[degF]": (77, 113)},
}
_FIXED_UNITS = {"heart_rate": "/min", "spo2": "%"}
_PRESSURE = {"system": _UCUM, "code": "mm[Hg]", "display": "mmHg"}


@mapping(
    entity="vitals",
    version="1.0.0",
    owner="clinical-data",
    status="approved",
    produces=dict.fromkeys(("weight", "height", "blood_pressure", "heart_rate", "temperature", "spo2"), "Observation"),
    references=("patient", "encounter", "staff"),
)
def vitals(row: Row, ctx: Context) -> Iterator[Resource]:
    """Up to six Observations. Nothing is converted; a value that its unit cannot mean stops the whole row."""
    skip_deleted(ctx, row)
    measures = _measures(ctx, row)
    if not measures:
        raise ctx.skip("no-measure")
    common = {
        "status": "final",
        "category": [concept(OBSERVATION_CATEGORY, "vital-signs")],
        "subject": ctx.reference("patient", row["patient_id"]),
        "encounter": ctx.reference("encounter", row["encounter_id"]),
        "effectiveDateTime": local_time(ctx, row, "taken_at"),
        "performer": present(ctx.reference("staff", row["staff_id"])),
    }
    for slot, value in measures.items():
        yield ctx.resource(slot, **common, code=ctx.code("vital", slot), **value)


def _measures(ctx: Context, row: Row) -> dict[str, dict[str, Any]]:
    """Slot → the elements that hold its value, for the measures that have one."""
    components = present(*(_component(ctx, row, column) for column in ("systolic", "diastolic")))
    found = {
        **{column: element(valueQuantity=_measured(ctx, row, column)) for column in _RANGES},
        "blood_pressure": element(component=components),
        **{column: element(valueQuantity=_counted(ctx, row, column)) for column in _FIXED_UNITS},
    }
    return {slot: value for slot, value in found.items() if value}


def _measured(ctx: Context, row: Row, column: str) -> dict[str, Any] | None:
    """A Quantity in the recorded unit. Raises Quarantine: 'ambiguous-measure', 'unmapped-code' (the unit)."""
    value, unit_column = number(ctx, row, column), f"{column}_unit"
    if value is None:
        return None
    unit = ctx.coding("vital_unit", text(ctx, row, unit_column), unit_column)
    if unit is None or unit["code"] not in _RANGES[column]:
        raise ctx.quarantine("ambiguous-measure", field=unit_column)
    low, high = _RANGES[column][unit["code"]]
    if not low <= value <= high:
        raise ctx.quarantine("ambiguous-measure", field=column)
    return quantity(value, unit)


def _counted(ctx: Context, row: Row, column: str) -> dict[str, Any] | None:
    unit = _FIXED_UNITS[column]
    return quantity(number(ctx, row, column), {"system": _UCUM, "code": unit, "display": unit})


def _component(ctx: Context, row: Row, column: str) -> dict[str, Any] | None:
    value = quantity(number(ctx, row, column), _PRESSURE)
    return {"code": ctx.code("vital", column), "valueQuantity": value} if value else None
