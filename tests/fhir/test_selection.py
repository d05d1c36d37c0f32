"""The places that a path selects are where its values stand, by the library that evaluates FHIRPath."""

from __future__ import annotations

from typing import Any

import pytest

from medferry.fhir.fhirpath import compiled
from medferry.fhir.selection import NotSelectable, selection

BASE = "https://b.example"
RESOURCE: dict[str, Any] = {
    "resourceType": "Patient",
    "identifier": [{"system": f"{BASE}/mrn", "value": "7"}, {"system": "ssn", "value": "8"}],
    "active": True,
    "birthDate": "1980-01-02",
    "name": [
        {"use": "official", "family": "A", "given": ["B", "C"]},
        {"use": "maiden", "family": "D", "given": ["E"]},
    ],
    "telecom": [{"system": "phone", "use": "home", "value": "1"}, {"system": "phone", "use": "work", "value": "2"}],
    "participant": [{"actor": {"reference": "Patient/1"}}, {"actor": {"reference": "Location/2"}}],
    "component": [{"code": {"coding": [{"code": "x"}, {"code": "y"}]}, "value": 3}, {"value": 4}],
}

PATHS = [
    "birthDate",
    "Patient.birthDate",
    "name.family",
    "name.given",
    "name[0].given",
    "name.given[0]",
    "name.given[2]",
    "name.where(use = 'official').given[1]",
    "name.where(use = 'official').given.tail()",
    "name.first().family | name.last().family | nothing",
    "identifier.where(system = %base + '/mrn').value",
    "telecom.where(system = 'phone' and use = 'work').value",
    "participant.actor.where(reference.startsWith('Location/'))",
    "component.where(code.coding.exists(code = 'y')).value",
    "component.where(code.exists()).code.coding.code",
    "component.where(code.empty()).value",
    "component.where(active = true)",
    "nothing.at.all",
]


@pytest.mark.parametrize("path", PATHS)
def test_the_values_at_the_places_are_those_of_the_library(path: str) -> None:
    found = selection(path)(RESOURCE, BASE)
    assert [place[2] for place in found.places] == compiled(path)(RESOURCE, {"base": BASE})
    for container, name, value in found.places:
        assert container[name] is value


def test_what_a_filter_holds_to_a_constant_is_told_of_what_it_lets_through() -> None:
    found = selection("telecom.where(system = 'phone' and use = 'work').value")(RESOURCE, BASE)
    assert [place[2] for place in found.tested] == ["phone", "work"]
    assert all(container is RESOURCE["telecom"][1] for container, _, _ in found.tested)


def test_a_number_and_likeness_own_no_place_but_are_told() -> None:
    counted = selection("name.count()")(RESOURCE, BASE)
    assert (len(counted.counted), counted.places[0][0]) == (2, None)
    assert selection("telecom.system.distinct()")(RESOURCE, BASE).alike


@pytest.mark.parametrize("path", ["name.all(use = 'x')", "a - b", "%resource.name", "name.where(use != 'x')", "a or b"])
def test_a_path_that_is_not_understood_is_not_guessed(path: str) -> None:
    with pytest.raises(NotSelectable):
        selection(path)
