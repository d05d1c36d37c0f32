"""The way back of a mapping: what changes, what cannot be expressed, and that nothing is guessed."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from medferry.definition.words import source_words
from medferry.mapping import KEEP, Columns, Context, InverseContext, Resource, Row, inverse, legacy_table, mapping
from medferry.mapping.apply import apply_mapping
from medferry.mapping.apply_inverse import apply_inverse, by_slot
from medferry.mapping.context import MappingSettings
from medferry.mapping.differences import differences
from medferry.mapping.identity import Naming
from medferry.mapping.inverse import Inexpressible, InverseSpec, RowChanges
from medferry.mapping.terminology import CodeRow, CodeTable
from medferry.mapping.values import zone_of

NAMING = Naming("https://x.example", "m")
SYSTEM = "http://s"
LOCAL = f"{NAMING.base}/CodeSystem/unit"
TABLES = {
    "unit": CodeTable(
        "unit",
        {
            "kg": CodeRow("kg", "kilogram", SYSTEM, "kg", "", "approved"),
            "lb": CodeRow("lb", "pound", SYSTEM, "[lb_av]", "", "approved"),
            "lbs": CodeRow("lbs", "pound", SYSTEM, "[lb_av]", "", "approved"),
            "st": CodeRow("st", "stone", "", "", "", "unmapped"),
            "dr": CodeRow("dr", "drachm", SYSTEM, "[dr_av]", "", "draft"),
        },
    )
}
ROW = {
    "id": 7,
    "at": "2024-03-10 08:30:00",
    "day": "2019-03",
    "words": " heavy ",
    "unit": " KG",
    "value": "72.50",
    "by": 3,
}


@mapping(
    entity="weight",
    version="1",
    owner="o",
    produces={"main": "Observation", "twin": "Observation"},
    references=("staff",),
)
def weight(row: Row, ctx: Context) -> list[Resource]:
    if row["value"] is None:
        raise ctx.quarantine("missing-required", "value")
    elements = {
        "status": "final",
        "issued": ctx.date(row["day"], "day"),
        "effectiveDateTime": ctx.instant(row["at"], "at"),
        "code": ctx.code("unit", row["unit"], "unit", text=ctx.text(row["words"], "words")),
        "performer": [reference] if (reference := ctx.reference("staff", row["by"])) else None,
    }
    return [
        ctx.resource(valueQuantity={"value": ctx.number(row["value"])}, **elements),
        ctx.resource("twin", effectiveDateTime=elements["effectiveDateTime"]),
    ]


staff = mapping(entity="staff", version="1", owner="o", produces={"main": "Practitioner"})(weight.function)

SETTINGS = MappingSettings(
    NAMING,
    zone_of("America/New_York"),
    TABLES,
    {"weight": weight, "staff": staff},
    null_tokens=frozenset({"N/A"}),
    sentinel_dates=frozenset({"1900-01-01"}),
    words=source_words([Path(__file__)]),
)
COLUMNS = ("at", "day", "words", "unit", "value", "by")


@inverse(entity="weight", tables=[legacy_table("weights", key="id", columns=COLUMNS)])
def weight_back(resource: Resource, row: Row | None, ctx: InverseContext) -> Columns:
    at = ctx.wall_time(resource.get("effectiveDateTime"), "at", "effectiveDateTime")
    if ctx.slot == "twin":
        return {"at": at}
    return {
        "at": at,
        "day": ctx.date(resource.get("issued"), "day", "issued"),
        "unit": ctx.code("unit", resource.get("code"), "unit", "code"),
        "words": ctx.words("unit", resource.get("code"), "words", "code"),
        "value": ctx.number((resource.get("valueQuantity") or {}).get("value"), "value", "valueQuantity.value"),
        "by": ctx.key("staff", (resource.get("performer") or [None])[0], "by", "performer"),
    }


def mapped(row: Mapping[str, Any]) -> dict[str, Resource]:
    return dict(by_slot(weight, copy.deepcopy(list(apply_mapping(weight, row, "7", SETTINGS).resources)), SETTINGS))


def back(
    row: Mapping[str, Any], edit: Mapping[str, Any] | None = None, slot: str = "main", way: InverseSpec = weight_back
) -> RowChanges:
    """The changes of a row whose resource of `slot` got the elements of `edit`; None takes one away."""
    resources = mapped(row)
    for name, value in (edit or {}).items():
        resources[slot].pop(name, None)
        resources[slot] |= {} if value is None else {name: value}
    return apply_inverse(weight, way, row, "7", resources, SETTINGS)


def reasons(changes: RowChanges) -> list[tuple[str, str]]:
    return [(one.path, str(one.reason)) for one in changes.cannot_express]


def concept(*codes: str, text: str | None = None) -> dict[str, Any]:
    return {"coding": [{"system": SYSTEM, "code": code} for code in codes], **({"text": text} if text else {})}


@pytest.mark.parametrize(
    "row",
    [ROW, {**ROW, "unit": "XX", "words": None}, {**ROW, "unit": None}, {**ROW, "day": None, "by": None},
     {**ROW, "words": "N/A"}, {**ROW, "value": 72.5}, {**ROW, "unit": "st "}],
)  # fmt: skip
def test_what_nobody_edited_is_not_written_however_the_row_spells_it(row: dict[str, Any]) -> None:
    assert back(row) == RowChanges()


@pytest.mark.parametrize(
    ("edit", "column", "value"),
    [
        ({"issued": "2020"}, "day", "2020"),
        ({"issued": None}, "day", None),
        ({"valueQuantity": {"value": 73}}, "value", 73),
        ({"code": {"coding": [{"system": LOCAL, "code": "lbs"}], "text": "heavy"}}, "unit", "lbs"),
        ({"performer": [{"reference": "Practitioner?identifier=https://x.example/staff|4"}]}, "by", "4"),
        ({"performer": None}, "by", None),
    ],
)  # fmt: skip
def test_an_edit_changes_its_column(edit: dict[str, Any], column: str, value: Any) -> None:
    changes = back(ROW, edit)
    assert (changes.columns[column], changes.cannot_express) == (value, ())


def test_one_instant_has_many_spellings_and_a_time_goes_back_to_the_clock() -> None:
    assert back(ROW, {"effectiveDateTime": "2024-03-10T12:30:00Z"}) == RowChanges()
    resources = mapped(ROW)
    for resource in resources.values():
        resource["effectiveDateTime"] = "2024-07-01T12:30:00.25+02:00"
    changes = apply_inverse(weight, weight_back, ROW, "7", resources, SETTINGS)
    assert changes == RowChanges({"at": "2024-07-01 06:30:00.25"})


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        ({"code": concept("[lb_av]", text="heavy")}, ("code", "several-local-codes")),
        ({"code": concept("[dr_av]", text="heavy")}, ("code", "no-local-code")),
        ({"performer": [{"reference": "Practitioner/123"}]}, ("performer", "unknown-reference")),
        ({"performer": [{"reference": "Practitioner?identifier=https://other|4"}]}, ("performer", "unknown-reference")),
        ({"issued": "2020-01-01T10:00:00Z"}, ("issued", "reads-otherwise")),
        ({"issued": "1900-01-01"}, ("issued", "reads-otherwise")),
        ({"note": None, "status": "amended"}, ("status", "comes-back-otherwise")),
        ({"valueString": "heavy"}, ("valueString", "no-place")),
        ({"status": None}, ("status", "cannot-be-removed")),
        ({"effectiveDateTime": "2024-11-03T05:30:00Z"}, ("effectiveDateTime", "reads-otherwise")),
        ({"effectiveDateTime": "2024-11-03"}, ("effectiveDateTime", "no-time-of-day")),
        ({"effectiveDateTime": "2024-07-01T06:30:00Z"}, ("effectiveDateTime", "resources-disagree")),
        ({"code": concept("kg", text="N/A")}, ("code.text", "reads-otherwise")),
        ({"valueQuantity": None}, ("valueQuantity.value", "row-refused")),
    ],
)  # fmt: skip
def test_what_the_row_cannot_say_is_told_with_its_path_and_leaves_its_column(
    edit: dict[str, Any], told: tuple[str, str]
) -> None:
    changes = back(ROW, edit)
    assert told in reasons(changes)
    assert changes.columns == {}


def test_a_row_that_its_own_mapping_would_refuse_is_not_changed_at_all_and_says_why() -> None:
    changes = back(ROW, {"valueQuantity": None, "issued": "2020"})
    assert changes.columns == {}
    refused = [one for one in changes.cannot_express if one.reason == "row-refused"]
    assert {one.detail for one in refused} == {"quarantined missing-required value"}
    assert sorted(one.path for one in refused) == ["issued", "valueQuantity.value"]


def test_a_value_is_written_whole_or_not_at_all() -> None:
    """Its columns need no `together`: 73 beside the row's own unit would be a weight that nobody wrote."""

    def with_unit(resource: Resource, row: Row | None, ctx: InverseContext) -> Columns:
        if ctx.slot == "twin":
            return {}
        quantity = resource.get("valueQuantity") or {}
        unit = quantity.get("unit", "kg")
        if unit not in ("kg", "lb"):
            unit = ctx.cannot(Inexpressible.NO_LOCAL_CODE, "valueQuantity.unit")
        value = ctx.number(quantity.get("value"), "value", "valueQuantity.value")
        return {"value": value, "unit": unit, "day": ctx.date(resource.get("issued"), "day", "issued")}

    way = inverse(entity="weight", tables=weight_back.tables)(with_unit)
    both = back(ROW, {"valueQuantity": {"value": 73, "unit": "lb"}, "issued": "2020"}, way=way)
    assert both.columns == {"value": 73, "unit": "lb", "day": "2020"}
    none = back(ROW, {"valueQuantity": {"value": 73, "unit": "st"}, "issued": "2020"}, way=way)
    assert none.columns == {"day": "2020"}
    told = {("valueQuantity.unit", "no-local-code"), ("valueQuantity.value", "comes-back-otherwise")}
    assert told <= {*reasons(none)}
    before = mapped(ROW)
    before["main"]["valueQuantity"]["unit"] = "st"  # which the row never could say
    edited = copy.deepcopy(before)
    edited["main"]["valueQuantity"]["value"] = 73
    assert apply_inverse(weight, way, ROW, "7", edited, SETTINGS, before).columns == {"value": 73}
    edited["main"]["valueQuantity"]["unit"] = "oz"
    assert apply_inverse(weight, way, ROW, "7", edited, SETTINGS, before).columns == {}


def test_a_local_coding_that_contradicts_the_standard_one_is_for_a_person() -> None:
    local = {"system": LOCAL, "code": "kg"}
    changes = back(ROW, {"code": {"coding": [local, {"system": SYSTEM, "code": "[lb_av]"}], "text": "heavy"}})
    assert reasons(changes)[0] == ("code", "codes-disagree")
    assert changes.columns == {}


def test_the_present_code_is_kept_where_it_says_the_same() -> None:
    row = {**ROW, "unit": "lbs"}
    assert back(row, {"code": concept("[lb_av]", text="heavy")}) == RowChanges()


def test_a_text_that_is_only_the_code_tables_is_no_words_of_the_row() -> None:
    row = {**ROW, "words": None}
    assert mapped(row)["main"]["code"]["text"] == "kilogram"
    changes = back({**row, "unit": "lb"}, {"code": concept("kg", text="kilogram")})
    assert changes.columns == {"unit": "kg"}
    assert back(row, {"code": concept("kg", text="kilo")}).columns == {"words": "kilo"}


def test_what_stood_beside_the_mapping_before_is_no_loss() -> None:
    base = mapped(ROW)
    base["main"]["valueString"] = "old"
    edited = copy.deepcopy(base)
    edited["main"]["issued"] = "2020"
    assert reasons(apply_inverse(weight, weight_back, ROW, "7", edited, SETTINGS)) == [("valueString", "no-place")]
    assert apply_inverse(weight, weight_back, ROW, "7", edited, SETTINGS, base) == RowChanges({"day": "2020"})


def test_a_fault_of_an_inverse_is_told_by_its_line_without_data_and_changes_nothing() -> None:
    def raising(resource: Resource, row: Row | None, ctx: InverseContext) -> Columns:
        raise ValueError(resource["code"]["text"])

    def straying(resource: Resource, row: Row | None, ctx: InverseContext) -> Columns:
        return {"secret": 1, "at": KEEP}

    for function, told in ((raising, "test_inverse.py"), (straying, "it gives secret")):
        changes = back(ROW, {"issued": "2020"}, way=inverse(entity="weight", tables=weight_back.tables)(function))
        assert (changes.columns, [str(one.reason) for one in changes.cannot_express]) == ({}, ["inverse-error"])
        assert told in changes.cannot_express[0].detail
        assert "heavy" not in changes.cannot_express[0].detail


def test_a_row_that_became_nothing_has_no_way_back() -> None:
    changes = apply_inverse(weight, weight_back, {**ROW, "value": None}, "7", mapped(ROW), SETTINGS)
    assert reasons(changes) == [("", "no-row")]


def test_a_place_names_no_code_that_users_have_given() -> None:
    """It stands in the manifest and in the status beside the record's key: a code says what a patient has."""
    kilograms, added = ({"system": SYSTEM, "code": code} for code in ("kg", "CANARY"))
    codes = {"code": {"coding": [added, kilograms]}}, {"code": {"coding": [kilograms]}}
    marks = {"meta": {"tag": [added]}}, {"meta": {"tag": [{**kilograms, "display": "CANARY"}]}}
    found = [*differences(frozenset({"code"}), *codes), *differences(frozenset({"meta"}), *marks)]
    assert {one.path for one in found} == {f"code.coding[{SYSTEM}]", f"meta.tag[{SYSTEM}]"}
