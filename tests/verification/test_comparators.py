"""What equal means: one value at a time, by hand."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from medferry.definition.checks import Check, ManyCheck
from medferry.definition.tables import ApprovedTable
from medferry.plan.model import Source
from medferry.verification.case import Case, Unreadable
from medferry.verification.comparators import compare

TABLES = {
    "sex": ApprovedTable({"f": ("urn:sex", "female"), "x": None}),
    "unit": ApprovedTable(
        {
            "kg": ("http://unitsofmeasure.org", "kg"),
            "lb": ("http://unitsofmeasure.org", "[lb_av]"),
            "g": ("http://unitsofmeasure.org", "g"),
            "mg": ("http://unitsofmeasure.org", "mg"),
            "degf": ("http://unitsofmeasure.org", "[degF]"),
        }
    ),
}
BASE = "https://a.example/legacy"


FEMALE = {"system": "urn:sex", "code": "female"}
LOCAL = {"system": f"{BASE}/CodeSystem/sex", "code": "f"}


@pytest.mark.parametrize(
    ("legacy", "found", "expected"),
    [
        ("f", {"coding": [FEMALE, LOCAL], "text": "f"}, None),
        ("f", {"coding": [FEMALE]}, "different"),
        ("f", {"coding": [FEMALE, LOCAL, LOCAL]}, "several"),
        ("f", {"coding": [FEMALE, LOCAL, {"code": "other"}]}, "different"),
        ("f", {"text": "f"}, "missing"),
        ("x", {"coding": [LOCAL | {"code": "x"}]}, None),
        ("x", {"coding": [FEMALE]}, "different"),
        (7, {"coding": [LOCAL | {"code": "7"}]}, None),
        ("f", FEMALE, None),
        ("f", LOCAL, "different"),
        ("f", "female", None),
        ("f", "male", "different"),
    ],
)
def test_of_a_list_of_codes_each_concept_has_its_own_codings(legacy: Any, found: Any, expected: str | None) -> None:
    values = {"name": "n", "path": "p", "compare": "code", "table": "sex", "from": "t", "key": "k", "sql": "v"}
    single = ManyCheck.model_validate(values).single
    case = Case(
        check=single,
        columns={"v": legacy},
        resource={},
        source=Source(connection="c", time_zone="UTC"),
        tables=TABLES,
        base=BASE,
        place_of=lambda *_: None,
        bytes_of=lambda _: b"",
        item=(found,),
    )
    assert compare(case) == expected


def verdict(kind: str, legacy: Any, *found: Any, **check: Any) -> str | None:
    """Compare a legacy value, the SQL expression "v", with what is found."""
    sql = {"sql": "v"} if kind != "absent" else {}
    columns = {"v": legacy, "u": check.pop("unit_value", None), "z": "America/New_York", "c": None, "m": 90}
    sentinels = check.pop("sentinels", frozenset())
    columns["s"] = check.pop("sign", None)
    path = check.pop("path", "a")
    resource: dict[str, Any] = {"resourceType": "Basic"}
    held: dict[str, Any] = resource
    *steps, last = path.split(".")
    for step in steps:
        held = held.setdefault(step, {})
    held[last] = list(found)
    declared = Check.model_validate({"name": "a", "path": path, "compare": kind, **sql, **check})
    places = {("patient", "main", "7"): "Patient/p7"}
    return compare(
        Case(
            check=declared,
            columns=columns,
            resource=resource,
            source=Source(connection="c", time_zone="UTC", null_tokens={"N/A"}, sentinel_dates=sentinels),
            tables=TABLES,
            base=BASE,
            place_of=lambda entity, slot, key: places.get((entity, slot, key)),
            bytes_of=lambda url: {"Binary/1": b"abc"}[url],
        )
    )


@pytest.mark.parametrize(
    ("kind", "legacy", "found", "expected"),
    [
        ("exact", "a", ["a"], None),
        ("exact", "a", ["A"], "different"),
        ("exact", "a ", ["a"], "different"),
        ("exact", None, [], None),
        ("exact", None, [""], "unexpected"),
        ("exact", "", [], "missing"),
        ("exact", 0, [], "missing"),
        ("exact", 1, [True], "no number"),
        ("text", " a\u0007 ", ["a"], None),
        ("text", "N/A", [], None),
        ("text", "", [], None),
        ("text", "N/A", ["N/A"], "unexpected"),
        ("text", "José", ["JosÃ©"], "different"),
        ("text", "é", ["e\u0301"], "different"),
        ("text", "a", ["a", "a"], "several"),
        ("number", "72.50", [72.5], None),
        ("number", "72.5", [72.05], "different"),
        ("number", "0", [0], None),
        ("number", "0", [], "missing"),
        ("number", None, [0], "unexpected"),
        ("number", "-0", [0], "sign"),
        ("number", "2.5", [-2.5], "sign"),
        ("number", "5", ["5"], "no number"),
        ("number", "0.1", [0.1], None),
        ("number", "123456789012345.6", [123456789012345.7], "different"),
        ("boolean", 1, [True], None),
        ("boolean", 0, [False], None),
        ("boolean", 0, [], "missing"),
        ("boolean", 1, [1], "different"),
        ("date", "1970-02-03", ["1970-02-03"], None),
        ("date", "1970-02-03 00:00:00", ["1970-02-03"], None),
        ("date", "1970-02-03", ["1970-02"], "precision"),
        ("date", "1970", ["1970-01-01"], "precision"),
        ("date", "1970-02-03", ["1970-02-04"], "different"),
        ("date", "1900-01-01", [], "missing"),
        ("date", "1900-01-01", ["1900-01-01"], None),
        ("absent", None, [], None),
        ("absent", None, [False], "unexpected"),
    ],
)
def test_plain_values(kind: str, legacy: Any, found: list[Any], expected: str | None) -> None:
    assert verdict(kind, legacy, *found) == expected


def test_tolerance() -> None:
    assert verdict("number", "70.0", 70.04, tolerance=0.05) is None
    assert verdict("number", "70.0", 70.06, tolerance=0.05) == "different"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ("2024-03-01T08:30:00-05:00", None),
        ("2024-03-01T08:30:00.000-05:00", None),
        ("2024-03-01T13:30:00Z", "zone"),
        ("2024-03-01T08:30:00-04:00", "different"),
        ("2024-03-01T08:30:00Z", "different"),
        ("2024-03-01T08:30:01-05:00", "different"),
        ("2024-03-01T08:30:00", "no zone"),
        ("2024-03-01", "precision"),
        ("2024-03-02T08:30:00-05:00", "different"),
    ],
)
def test_a_wall_time_is_a_moment_with_its_own_offset(found: str, expected: str | None) -> None:
    assert verdict("instant", "2024-03-01 08:30:00", found, zone="z") == expected


def test_a_date_is_no_value_only_where_the_plan_names_it() -> None:
    at, born = "1900-01-01T08:30:00+00:00", "1900-01-01"
    named = {"sentinels": {born}}
    assert verdict("date", born, **named) is None
    assert verdict("date", born, born, **named) == "unexpected"
    assert verdict("instant", "1900-01-01 08:30:00", **named) is None
    assert verdict("instant", "1900-01-01 08:30:00", at, **named) == "unexpected"
    assert verdict("instant", "1900-01-01 08:30:00", at) is None
    assert verdict("instant", "1900-01-01 08:30:00") == "missing"


def test_minutes_that_pass_over_a_clock_change() -> None:
    start = "2024-03-10 01:00:00"  # New York skips 02:00 to 03:00
    assert verdict("instant", start, "2024-03-10T03:30:00-04:00", zone="z", plus_minutes="m") is None
    assert verdict("instant", start, "2024-03-10T02:30:00-05:00", zone="z", plus_minutes="m") == "zone"


KG = {"value": 70, "unit": "kg", "system": "http://unitsofmeasure.org", "code": "kg"}


@pytest.mark.parametrize(
    ("legacy", "unit", "found", "expected"),
    [
        ("70", "kg", KG, None),
        ("70", " KG ", KG, None),
        ("70", "lb", KG, "unit"),
        ("70", "kg", KG | {"system": "urn:x"}, "unit"),
        ("70", "kg", KG | {"comparator": "<"}, "comparator"),
        ("71", "kg", KG, "different"),
        ("70", "kg", {k: v for k, v in KG.items() if k != "value"}, "missing"),
    ],
)
def test_a_quantity_is_value_and_unit(legacy: str, unit: str, found: Any, expected: str | None) -> None:
    assert verdict("quantity", legacy, found, unit="u", table="unit", unit_value=unit) == expected


@pytest.mark.parametrize(
    ("legacy", "sign", "stored", "expected"),
    [
        ("<70", "<", "<", None),
        (">=70", ">=", ">=", None),
        ("70", "<", "<", None),  # the sign stands in a column of its own
        ("<70", "<", None, "comparator"),
        ("<70", "<", ">", "comparator"),
        ("70", None, "<", "comparator"),
    ],
)
def test_a_quantity_has_the_comparator_that_the_check_expects(
    legacy: str, sign: str | None, stored: str | None, expected: str | None
) -> None:
    found = KG | ({"comparator": stored} if stored else {})
    given = {"unit": "u", "table": "unit", "unit_value": "kg", "comparator": "s", "sign": sign}
    assert verdict("quantity", legacy, found, **given) == expected


@pytest.mark.parametrize("sign", [None, "<", ">"])
@pytest.mark.parametrize("legacy", ["<70", ">70", ">=70", "<<70", "~70"])
def test_a_sign_that_the_check_does_not_expect_is_not_compared(legacy: str, sign: str | None) -> None:
    if sign and legacy == f"{sign}70":
        return
    given = {"unit": "u", "table": "unit", "unit_value": "kg", "comparator": "s", "sign": sign}
    for found in (KG, KG | {"comparator": "<"}):
        with pytest.raises(Unreadable):
            verdict("quantity", legacy, found, **given)
        with pytest.raises(Unreadable):
            verdict("quantity", legacy, found, unit="u", table="unit", unit_value="kg")


def test_a_quantity_across_units_only_with_a_tolerance() -> None:
    given = {"unit": "u", "table": "unit", "unit_value": "lb"}
    assert verdict("quantity", "154.324", KG, **given, tolerance=0.001) is None
    assert verdict("quantity", "155", KG, **given, tolerance=0.001) == "different"
    assert verdict("quantity", "154.324", KG, **given) == "unit"


def _of(code: str, value: float) -> dict[str, Any]:
    return {"value": value, "unit": code, "system": "http://unitsofmeasure.org", "code": code}


@pytest.mark.parametrize(
    ("legacy", "unit", "found", "tolerance", "expected"),
    [
        ("500", "mg", _of("g", 0.5), 0.01, None),
        ("500", "mg", _of("g", 0.50001), 0.01, None),
        ("500", "mg", _of("g", 0.50002), 0.01, "different"),
        ("500", "mg", _of("kg", 0.0005), 0.01, None),
        ("0.5", "g", _of("mg", 505), 0.005, None),
        ("0.5", "g", _of("mg", 506), 0.005, "different"),
        ("154.3", "lb", KG, 0.05, None),
        ("154.2", "lb", KG, 0.1, "different"),
        ("98.6", "degf", _of("Cel", 37), 0.001, None),
        ("100.4", "degf", _of("Cel", 37), 1.8, None),
        ("100.5", "degf", _of("Cel", 37), 1.8, "different"),
        ("500", "mg", _of("mL", 0.5), 0.01, "unit"),
        ("500", "mg", _of("s", 0.5), 0.01, "unit"),
    ],
)
def test_a_tolerance_is_in_the_unit_of_the_check(
    legacy: str, unit: str, found: Any, tolerance: float, expected: str | None
) -> None:
    assert verdict("quantity", legacy, found, unit="u", table="unit", unit_value=unit, tolerance=tolerance) == expected


LOCAL = {"system": f"{BASE}/CodeSystem/sex", "code": "F"}
TARGET = {"system": "urn:sex", "code": "female"}


@pytest.mark.parametrize(
    ("legacy", "path", "found", "expected"),
    [
        ("F", "gender", ["female"], None),
        (" f", "gender", ["female"], None),
        ("F", "gender", ["male"], "different"),
        ("F", "gender", [], "missing"),
        (None, "gender", ["female"], "unexpected"),
        ("F", "a.coding", [TARGET, LOCAL], None),
        ("F", "a.coding", [TARGET | {"display": "Female"}, LOCAL], None),
        ("F", "a.coding", [TARGET], "different"),
        ("F", "a.coding", [LOCAL], "different"),
        ("F", "a.coding", [TARGET | {"code": "femalf"}, LOCAL], "different"),
        ("F", "a.coding", [TARGET, TARGET, LOCAL], "several"),
        ("F", "a.coding", [TARGET, LOCAL, {"system": "urn:y", "code": "1"}], "different"),
        ("F", "class", [TARGET], None),
        ("X", "a.coding", [LOCAL | {"code": "X"}], None),
        ("X", "a.coding", [TARGET, LOCAL | {"code": "X"}], "different"),
        ("F", "a.coding", [], "missing"),
        ("X", "a.coding", [], "missing"),
        (None, "a.coding", [LOCAL], "unexpected"),
    ],
)
def test_codes_go_through_the_approved_table(legacy: Any, path: str, found: list[Any], expected: str | None) -> None:
    assert verdict("code", legacy, *found, path=path, table="sex") == expected


def test_a_reference_is_the_one_that_the_other_row_became() -> None:
    def of(key: Any, *found: Any) -> str | None:
        return verdict("reference", key, *found, entity="patient")

    assert of(7, {"reference": "Patient/p7"}) is None
    assert of(7, {"reference": "Patient/p8"}) == "different"
    assert of(7, {"display": "x"}) == "different"
    assert of(7) == "missing"
    assert of(None, {"reference": "Patient/p7"}) == "unexpected"
    with pytest.raises(Unreadable):
        of(8, {"reference": "Patient/p7"})


@pytest.mark.parametrize("legacy", ["O\x92Brien", "OBrien\x85", "\x85OBrien", "OBr\x9fien"])
def test_a_letter_that_was_decoded_wrongly_is_never_dropped_from_what_is_expected(legacy: str) -> None:
    assert verdict("text", legacy, "OBrien") == "different"
    assert verdict("text", f" {legacy}\x1f \n", legacy) is None
    assert verdict("text", "\x1bOBr\x7fien ", "OBrien") is None


def test_a_document_is_its_bytes() -> None:
    encoded = base64.b64encode(b"abc").decode()
    blob = {"base64": encoded}
    held = {"contentType": "t/x", "data": encoded}
    assert verdict("document", blob, held) is None
    assert verdict("document", blob, {"url": "Binary/1"}) is None
    assert verdict("document", "abc", held, as_text=True) is None
    assert verdict("document", blob, held, media_type="z") == "type"
    assert verdict("document", blob, held | {"data": base64.b64encode(b"ab").decode()}) == "size"
    assert verdict("document", blob, held | {"data": base64.b64encode(b"abd").decode()}) == "hash"
    assert verdict("document", blob, held | {"data": encoded[:-1] + " "}) == "no base64"
    assert verdict("document", blob, held | {"data": "!" + encoded}) == "no base64"
    nothing = {"base64": ""}
    assert verdict("document", nothing, {"contentType": "a/b"}) is None
    assert verdict("document", nothing, held) == "size"
    assert verdict("document", nothing, {"url": "Binary/1"}) == "size"
    assert verdict("document", blob, held | {"data": f"{encoded[:2]}\n{encoded[2:]}"}) is None
    assert verdict("document", None, held) == "unexpected"
    assert verdict("document", blob) == "missing"


def test_a_text_as_document_is_compared_with_its_blanks_and_control_characters() -> None:
    def of(stored: str, **check: Any) -> str | None:
        held = {"data": base64.b64encode(stored.encode()).decode()}
        return verdict("document", note, held, as_text=True, **check)

    note = "    Dose:\n  5 mg\n\x0cPage 2\n   \n"
    cleaned = "Dose:\n  5 mg\nPage 2"
    assert of(note) is None
    assert of(cleaned) == "size"
    assert of(note.strip()) == "size"
    assert of(note.replace("\x0c", "\x0b")) == "hash"
    assert of(cleaned, cleaned=True) is None
    assert of(note, cleaned=True) == "size"
    for nothing in ("  \n", " N/A "):
        assert verdict("document", nothing, as_text=True) is None


@pytest.mark.parametrize(
    ("kind", "legacy", "found"),
    [("number", "abc", 1), ("date", "2024-02-30", "2024-02-28"), ("boolean", "Y", True)],
)
def test_what_cannot_be_understood_is_not_compared(kind: str, legacy: Any, found: Any) -> None:
    with pytest.raises(Unreadable):
        verdict(kind, legacy, found)


def test_a_time_that_a_clock_change_repeats_is_not_compared() -> None:
    with pytest.raises(Unreadable):
        verdict("instant", "2024-11-03 01:30:00", "2024-11-03T01:30:00-04:00", zone="z")
