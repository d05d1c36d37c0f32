"""Single laboratory results. The order's report points at them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from medferry.mapping import Context, Resource, Row, mapping
from medferry.mapping.datatypes import coding, concept, element, present, quantity

from ._columns import local_time, number, skip_deleted, text
from ._datatypes import OBSERVATION_CATEGORY

_QUALITATIVE = {"uglu", "upro", "uket", "uleu", "unit"}
# Tests that exist in two units, with the only unit each may be in: a value in the other one would be misread.
_ONE_UNIT = {"glu": "mg/dL", "glum": "mmol/L", "chol": "mg/dL", "cholm": "mmol/L"}
# The values that can be meant by such a test, in its unit (README of the legacy system).
_RANGES = {"glu": (20, 1500), "glum": (1, 85), "chol": (40, 1000), "cholm": (1, 26)}


@mapping(
    entity="lab_result",
    version="1.0.0",
    owner="laboratory",
    status="approved",
    produces={"main": "Observation"},
    references=("patient", "encounter"),
)
def lab_result(row: Row, ctx: Context) -> Iterator[Resource]:
    """A laboratory Observation: words for a qualitative test, else a number in the laboratory's unit."""
    skip_deleted(ctx, row)
    test = (text(ctx, row, "test_code") or "").casefold()
    value = {"valueString": text(ctx, row, "result_text")} if test in _QUALITATIVE else _measured(ctx, row, test)
    yield ctx.resource(
        status=ctx.required_code("result_status", row["status_code"], "status_code"),
        category=[concept(coding(OBSERVATION_CATEGORY, "laboratory"))],
        code=ctx.code("lab_test", row["test_code"], "test_code"),
        subject=ctx.reference("patient", row["patient_id"]),
        encounter=ctx.reference("encounter", row["encounter_id"]),
        effectiveDateTime=local_time(ctx, row, "collected_at"),
        interpretation=present(ctx.code("abnormal_flag", row["abnormal_flag"], "abnormal_flag")),
        **value,
    )


def _measured(ctx: Context, row: Row, test: str) -> dict[str, Any]:
    """Value and reference range. Raises Quarantine: 'ambiguous-measure', 'not-a-number', 'unmapped-code' (the unit)."""
    unit = ctx.coding("lab_unit", row["unit_text"], "unit_text")
    comparator, value = _number(ctx, row)
    if unit is None or not _can_be_meant(test, value, unit["code"]):
        raise ctx.quarantine("ambiguous-measure", field="unit_text")
    limits = element(low=quantity(number(ctx, row, "ref_low"), unit), high=quantity(number(ctx, row, "ref_high"), unit))
    return {"valueQuantity": quantity(value, unit, comparator), "referenceRange": present(limits)}


def _number(ctx: Context, row: Row) -> tuple[str | None, int | float | None]:
    """Comparator and number of ``result_text``, such as "5.4" or "<0.1". Raises Quarantine('not-a-number')."""
    result = text(ctx, row, "result_text")
    if result is None:
        return None, None
    comparator = result[0] if result[0] in "<>" else None
    value = ctx.number(result.removeprefix(comparator or ""), "result_text")
    if value is None:
        raise ctx.quarantine("not-a-number", field="result_text")
    return comparator, value


def _can_be_meant(test: str, value: float | None, unit: str) -> bool:
    if test not in _ONE_UNIT:
        return True
    low, high = _RANGES[test]
    return unit == _ONE_UNIT[test] and (value is None or low <= value <= high)
