"""The comparison finds what is planted."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from demo_clinics.compare import differences

from .conftest import LegacyReader

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def line(legacy: LegacyReader) -> dict[str, Any]:
    """A patient with a birth date, two given names and an address."""
    patients = (line for line in legacy.expected if line["entity"] == "patient")
    return copy.deepcopy(
        next(p for p in patients if "birthDate" in p["resource"] and len(p["resource"]["name"][0]["given"]) > 1)
    )


def test_the_same_resource_has_no_difference_also_with_more_in_it(line: dict[str, Any]) -> None:
    actual = copy.deepcopy(line["resource"]) | {"id": "1", "meta": {"versionId": "2"}}
    actual["managingOrganization"]["display"] = "a clinic"
    actual["identifier"].reverse()
    assert differences(line, actual) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.pop("birthDate"),
        lambda r: r.update(birthDate="1980-01-01"),
        lambda r: r["name"][0]["given"].pop(),
        lambda r: r["name"][0].update(family=r["name"][0]["family"] + " "),
        lambda r: r["identifier"].append({"system": "x", "value": "y"}),
        lambda r: r["managingOrganization"].update(reference="Organization?identifier=x|other"),
        lambda r: r.update(active=1),
        lambda r: r["identifier"][1].update(value=r["identifier"][1]["value"].lstrip("0")),
    ],
)
def test_a_planted_fault_is_found(line: dict[str, Any], change: Change) -> None:
    actual = copy.deepcopy(line["resource"])
    change(actual)
    assert differences(line, actual)


def test_what_must_be_absent_is_found(line: dict[str, Any]) -> None:
    del line["resource"]["birthDate"]
    line["absent"].append("birthDate")
    assert differences(line, line["resource"] | {"birthDate": "1900-01-01"}) == ["birthDate: not absent"]


def test_references_are_resolved_before_they_are_compared(line: dict[str, Any]) -> None:
    actual = copy.deepcopy(line["resource"])
    wanted = actual["managingOrganization"]["reference"]
    actual["managingOrganization"]["reference"] = "Organization/1"
    assert differences(line, actual, lambda r: wanted if r == "Organization/1" else r) == []
    assert differences(line, actual) == ["managingOrganization.reference: different"]


def test_differences_hold_no_values(line: dict[str, Any]) -> None:
    told = " ".join(differences(line, {"resourceType": "Patient", "name": [{"family": "Someone"}]}))
    assert line["resource"]["name"][0]["family"] not in told
    assert "Someone" not in told
