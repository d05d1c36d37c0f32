"""Checks that prove less than they seem to are told by `plan check`; what only looks so is not."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from medferry.definition.checks import EntityChecks
from medferry.definition.doubts import doubts_of
from medferry.definition.migration import load_migration
from medferry.definition.weak_checks import weak_checks
from tests.tiny_platform import MIGRATION

SOUND: dict[str, Any] = {"name": "family", "sql": "p.family", "path": "name.family", "compare": "text"}


def told(*checks: dict[str, Any], many: tuple[dict[str, Any], ...] = ()) -> list[str]:
    declared = {"from": "patient p", "key": "p.id", "resources": {"main": {"checks": [*checks], "many": [*many]}}}
    return weak_checks({"patient": EntityChecks.model_validate(declared)})


def check(**values: Any) -> dict[str, Any]:
    return SOUND | {"name": "planted"} | values


CONSTANT = "checks with one value for every row, so that they prove none: patient/planted"


@pytest.mark.parametrize(
    "sql",
    [
        "'final'",
        "1",
        "NULL",
        "CURRENT_DATE",
        "CAST('x' AS text)",
        "CASE WHEN 1 = 1 THEN 'a' ELSE 'b' END",
        "'a' || 'b'",
    ],
)
def test_a_check_against_a_constant_is_told(sql: str) -> None:
    assert told(SOUND, check(sql=sql)) == [CONSTANT]


@pytest.mark.parametrize(
    "sql",
    [
        "p.family",
        "'Dr. ' || p.family",
        "p.deleted IS NULL",
        "(SELECT max(n) FROM t)",
        "`p`.`a b`",
        '"p"."a"',
        "p.a::text",
    ],
)
def test_what_reads_a_column_or_a_table_is_not(sql: str) -> None:
    assert told(SOUND, check(sql=sql)) == []


def test_a_key_of_which_one_column_is_read_is_not() -> None:
    assert told(SOUND, check(sql=["'a'", "p.id"], compare="reference", entity="clinic")) == []
    assert told(SOUND, check(sql=["'a'", "1"], compare="reference", entity="clinic")) == [CONSTANT]


def test_a_resource_of_which_no_check_compares_the_row_is_told() -> None:
    nothing = "checks/patient.yaml: no check of main compares a value of its row"
    absent = {"name": "none", "path": "photo", "compare": "absent"}
    assert told(absent, check(sql="'x'")) == [nothing, CONSTANT]
    assert told(absent) == [nothing]
    listed = {"name": "all", "path": "note.text", "compare": "text", "from": "note n", "key": "n.id", "sql": "n.text"}
    assert told(absent, many=(listed,)) == told() == []


@pytest.mark.parametrize(
    ("tolerance", "told_of"), [(0.0, False), (1e-9, False), (0.5, False), (0.51, True), (1e9, True)]
)
def test_a_tolerance_that_no_rounding_explains_is_told(tolerance: float, told_of: bool) -> None:
    found = told(check(compare="number", tolerance=tolerance))
    assert [f"a tolerance of {tolerance:g}" in line for line in found] == ([True] if told_of else [])


@pytest.mark.parametrize(
    ("path", "told_of"),
    [
        ("name.family | name.text", True),
        ("(name.family | name.text).first()", True),
        ("name.where(use = 'a|b').family", False),
        ("identifier.where(system = %base + '|x').value", False),
        ("name.family", False),
    ],
)
def test_a_value_that_is_found_at_any_of_several_places_is_told(path: str, told_of: bool) -> None:
    assert ["is found at any of several places" in line for line in told(check(path=path))] == [True] * told_of


def test_an_absence_of_several_is_not() -> None:
    assert told(SOUND, {"name": "none", "path": "valueString | valueInteger", "compare": "absent"}) == []


@pytest.mark.parametrize("path", ["'Ada'", "true", "1", "%base", "'a' + 'b'", "iif(true, 'a', 'b')"])
def test_a_path_to_no_place_is_told(path: str) -> None:
    assert ["names no place in the resource" in line for line in told(check(path=path))] == [True]


@pytest.mark.parametrize("path", ["name.family", "birthDate", "iif(active, 'a', 'b')", "name.exists()"])
def test_a_path_to_a_place_is_not(path: str) -> None:
    assert told(check(path=path)) == []


def test_plan_check_tells_them_and_the_demo_s_say_what_is_meant(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(MIGRATION, tmp_path / "tiny"))
    assert not [line for line in doubts_of(load_migration(folder)) if "check" in line]
    checks = folder / "checks/patient.yaml"
    checks.write_text(checks.read_text().replace("sql: p.family", "sql: \"'x'\""))
    assert [line for line in doubts_of(load_migration(folder)) if "checks with" in line] == [
        CONSTANT.replace("planted", "family")
    ]
    [demo] = [line for line in doubts_of(load_migration("clinics")) if "check" in line]
    assert demo.startswith("checks with one value for every row") and "vitals/category" in demo
