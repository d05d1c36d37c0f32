"""Canonical form, references, validation."""

from __future__ import annotations

import pytest

from medferry.fhir.canonical import content_hash
from medferry.fhir.references import parse_conditional, references
from medferry.fhir.validate import problems
from medferry.mapping.identity import conditional_reference

PATIENT = {"resourceType": "Patient", "meta": {"source": "s"}, "name": [{"family": "A"}], "multipleBirthInteger": 2}


def test_the_hash_sees_content_and_nothing_else() -> None:
    stored = {
        "meta": {"versionId": "1", "lastUpdated": "2024-01-01T00:00:00Z", "author": {}, "source": "s"},
        "id": "x",
        **{name: value for name, value in PATIENT.items() if name != "meta"},
        "multipleBirthInteger": 2.0,
    }
    assert content_hash(stored) == content_hash(PATIENT)


@pytest.mark.parametrize(
    "change", [{"name": [{"family": "B"}]}, {"meta": {"source": "t"}}, {"multipleBirthInteger": 2.5}, {"active": True}]
)
def test_the_hash_changes_with_the_content(change: dict[str, object]) -> None:
    assert content_hash({**PATIENT, **change}) != content_hash(PATIENT)


def test_conditional_references_round_trip() -> None:
    text = conditional_reference("Patient", "https://x.example/p", "a|b, c&d=é")
    assert parse_conditional(text) == ("Patient", "https://x.example/p", "a|b, c&d=é")
    assert parse_conditional("Patient/123") is None


def test_references_are_found_everywhere() -> None:
    resource = {"subject": {"reference": "a"}, "participant": [{"actor": {"reference": "b"}}], "reference": 7}
    assert [found["reference"] for found in references(resource)] == ["a", "b"]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"birthDate": "2024-02-30"}, "birthDate"),
        ({"gender": ["female"]}, "gender"),
        ({"deceasedBoolean": True, "deceasedDateTime": "2024-01-01"}, "deceased"),
        ({"nickname": "Ada"}, "nickname"),
        ({"deceasedDateTime": "2024-01-01T10:00:00"}, "deceasedDateTime"),
    ],
)
def test_invalid_resources_are_told_by_path_without_their_values(change: dict[str, object], path: str) -> None:
    [problem, *_] = problems({**PATIENT, **change})
    assert path in problem
    assert "2024" not in problem
    assert "Ada" not in problem


def test_valid_and_unknown_resources() -> None:
    assert problems(PATIENT) == []
    assert problems({"resourceType": "Spaceship"}) == ["resourceType: unknown"]
