"""Vital signs: one Observation for each measure of a row, in the unit in which it was taken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from medferry.mapping import Columns, Context, InverseContext, Resource, Row, inverse, legacy_table, mapping
from medferry.mapping.datatypes import coding, concept, element, present, quantity
from medferry.mapping.inverse import Inexpressible

from ._back import amount, clinic_time, inside, single, staff
from ._columns import local_time, number, skip_deleted, text
from ._datatypes import OBSERVATION_CATEGORY

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
        "category": [concept(coding(OBSERVATION_CATEGORY, "vital-signs"))],
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


@inverse(
    entity="vitals",
    tables=(
        legacy_table(
            "vitals",
            key="vitals_id",
            columns=(
                *("encounter_id", "staff_id", "taken_at", *_RANGES, *(f"{column}_unit" for column in _RANGES)),
                *("systolic", "diastolic", *_FIXED_UNITS),
            ),
            touched="updated_at",
        ),
    ),
)
def vitals_back(resource: Resource, row: Row | None, ctx: InverseContext) -> Columns:
    """One measure of the row. When and by whom is one for all of them, and whose they are stays."""
    taken = clinic_time(ctx, row, resource.get("effectiveDateTime"), "taken_at", "effectiveDateTime")
    return {
        **(_pressure_back(resource, ctx) if ctx.slot == "blood_pressure" else _measure_back(resource, ctx)),
        "taken_at": ctx.required(taken, "effectiveDateTime"),
        "encounter_id": ctx.key("encounter", resource.get("encounter"), "encounter_id", "encounter"),
        "staff_id": staff(ctx, single(ctx, resource, "performer"), "performer"),
    }


def _measure_back(resource: Resource, ctx: InverseContext) -> Columns:
    """The value in the unit in which it was given. A fixed unit has no column."""
    quantity, fixed = resource.get("valueQuantity"), ctx.slot in _FIXED_UNITS
    value = amount(ctx, quantity, "valueQuantity")
    if fixed and quantity and inside(quantity, "code") != _FIXED_UNITS[ctx.slot]:
        value = ctx.cannot(Inexpressible.NO_PLACE, "valueQuantity")
    number = ctx.number(value, ctx.slot, "valueQuantity", whole=fixed)
    found = {ctx.slot: ctx.required(number, "valueQuantity")}
    return found if fixed else ctx.together({**found, **_unit_back(quantity, ctx)})


def _unit_back(quantity: Any, ctx: InverseContext) -> Columns:
    column = f"{ctx.slot}_unit"
    coding = {name: inside(quantity, name) for name in ("system", "code")} if inside(quantity, "code") else None
    return {column: ctx.required(ctx.code("vital_unit", coding, column, "valueQuantity.code"), "valueQuantity.code")}


def _pressure_back(resource: Resource, ctx: InverseContext) -> Columns:
    """Both components, each by its code."""
    found: dict[str, Any] = {}
    for column in ("systolic", "diastolic"):
        codes = [
            element["valueQuantity"]
            for element in resource.get("component") or []
            if element.get("valueQuantity") and _is_measure(element, column, ctx)
        ]
        quantity = ctx.only(codes, "component")
        value = amount(ctx, quantity, "component")
        if isinstance(quantity, dict) and quantity.get("code") != _PRESSURE["code"]:
            value = ctx.cannot(Inexpressible.NO_PLACE, "component")
        found[column] = ctx.number(value, column, "component", whole=True)
    return found


def _is_measure(element: dict[str, Any], column: str, ctx: InverseContext) -> bool:
    """Whether a component has the standard code of a measure."""
    line = ctx.settings.tables["vital"].find(column)
    codings = (element.get("code") or {}).get("coding") or []
    return line is not None and any((c.get("system"), c.get("code")) == (line.system, line.code) for c in codings)
