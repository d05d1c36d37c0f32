"""Whichever form a resource uses to say that it is about another one is seen."""

from __future__ import annotations

from typing import Any

import pytest

from medferry.fhir.mentions import Sought

ID = "18aa9dfc-35fd-4902-bf1c-b33e3122b8f5"
OTHER = "28aa9dfc-35fd-4902-bf1c-b33e3122b8f5"
SYSTEM = "https://x.example/patient"
PLACE = f"Patient/{ID}"
SOUGHT = Sought({PLACE: [(SYSTEM, "7")], f"Patient/{OTHER}": [(SYSTEM, "8")]})


def named(**members: Any) -> set[str]:
    return SOUGHT.named_in({"resourceType": "Basic", "id": "b", **members})


@pytest.mark.parametrize(
    "subject",
    [
        {"reference": PLACE},
        {"reference": f"{PLACE}/_history/3"},
        {"reference": f"https://else.example/fhir/R4/{PLACE}#part"},
        {"reference": f"urn:uuid:{ID.upper()}"},
        {"reference": f"Patient?identifier={SYSTEM}|7"},
        {"identifier": {"system": SYSTEM, "value": "7"}},
        {"identifier": {"system": SYSTEM, "value": " 7 "}, "type": "Patient"},
        {"identifier": {"value": "7"}, "type": "http://hl7.org/fhir/StructureDefinition/Patient"},
    ],
)
def test_every_form_of_a_reference_is_seen(subject: dict[str, Any]) -> None:
    assert named(subject=subject) == {PLACE}
    assert named(extension=[{"url": "https://x.example", "valueReference": subject}]) == {PLACE}
    assert named(contained=[{"resourceType": "Specimen", "id": "s", "subject": subject}]) == {PLACE}


@pytest.mark.parametrize(
    "subject",
    [
        {"reference": "Patient/7"},
        {"identifier": {"system": "https://y.example/patient", "value": "7"}},
        {"identifier": {"system": SYSTEM, "value": "7"}, "type": "Practitioner"},
        {"identifier": {"system": SYSTEM, "value": 7}},
        {"display": "7"},
    ],
)
def test_what_means_another_is_not(subject: dict[str, Any]) -> None:
    assert named(subject=subject) == set()


def test_its_own_identifier_is_no_reference() -> None:
    own = {"identifier": {"system": SYSTEM, "value": "7"}}
    assert SOUGHT.named_in({"resourceType": "QuestionnaireResponse", "id": "q", **own}) == set()
    assert SOUGHT.named_in({"resourceType": "Patient", "id": ID, "identifier": [own["identifier"]]}) == set()


def test_an_id_that_may_be_anything_is_told() -> None:
    assert Sought({"Patient/1": (), PLACE: ()}).untellable == ["Patient/1"]
