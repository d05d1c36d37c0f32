"""The verifier's own rules, by hand: canonical form, references, meaning, FHIRPath, the files of checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest

from medferry.fhir.canonical import content_hash
from medferry.fhir.fhirpath import BadPath, compiled
from medferry.manifest.checks import Difference
from medferry.manifest.subject import Record
from medferry.verification import identity, references
from medferry.verification.content import binary_id, digest
from medferry.verification.meaning import examine_lifetimes, is_after
from medferry.verification.options import Sampling
from medferry.verification.pages import Page, WrittenResource
from medferry.verification.recorder import CheckRecorder
from medferry.verification.references import Life, fault, held_references
from medferry.verification.structure import Structure, model_fault

ID = "2b1f3a52-1111-4222-8333-444455556666"


@pytest.mark.parametrize(
    "resource",
    [
        {"resourceType": "Patient", "id": "1", "meta": {"versionId": "3", "lastUpdated": "x", "tag": [{"code": "a"}]}},
        {"resourceType": "Observation", "valueQuantity": {"value": 72.0}, "meta": {"author": {"reference": "a/b"}}},
        {"resourceType": "Observation", "valueQuantity": {"value": 1e-7}, "note": [{"text": "é 漢 \u2028"}]},
        {"resourceType": "Observation", "valueQuantity": {"value": 1e20}, "component": [{"valueInteger": -0.0}]},
        {"resourceType": "Patient", "active": True, "multipleBirthInteger": 0, "name": [{"given": ["b", "a"]}]},
    ],
)
def test_the_canonical_form_agrees_with_what_the_loader_has_noted(resource: dict[str, Any]) -> None:
    assert digest(resource) == content_hash(resource)


def test_the_canonical_form_sees_every_change_and_no_other() -> None:
    one = {"resourceType": "Patient", "id": "1", "name": [{"given": ["a", "b"]}], "active": True}
    assert digest(one) == digest({"active": True, **one, "id": "2"})
    names = ({"name": [{"given": ["b", "a"]}]}, {"name": [{"given": ["a"]}]})
    for other in ({"active": 1}, *names, {"meta": {"tag": []}}):
        assert digest(one | other) != digest(one)


def test_a_signed_url_is_the_binary_it_stands_for() -> None:
    signed = f"https://storage.example/storage/{ID}/{ID[:-1]}0?Expires=1&Signature=abc"
    assert binary_id(signed) == binary_id(f"Binary/{ID}") == ID
    assert binary_id("https://else.example/a.pdf") is None
    held, sent = ({"content": [{"attachment": {"url": url}}]} for url in (signed, f"Binary/{ID}"))
    assert digest(held) == digest(sent) == content_hash(sent)


@pytest.mark.parametrize(
    ("reference", "kind"),
    [
        ({"reference": f"Patient/{ID}"}, None),
        ({"reference": "#contained"}, None),
        ({"reference": f"urn:uuid:{ID}"}, "urn"),
        ({"reference": "Patient?identifier=a|b"}, "conditional"),
        ({"reference": "Patient"}, "not literal"),
        ({"reference": "https://else.example/Patient/1"}, "not literal"),
        ({"reference": f"Patient/{ID}", "type": "Practitioner"}, "other type"),
    ],
)
def test_forms_of_references(reference: dict[str, Any], kind: str | None) -> None:
    assert fault(reference) == kind
    found = list(held_references({"a": [{"b": reference}], "extension": [{"valueReference": reference}]}))
    assert [path for path, _ in found] == ["a[0].b", "extension[0].valueReference"]


@pytest.mark.parametrize(
    ("one", "other", "after"),
    [
        ("2024-03-02", "2024-03-01", True),
        ("2024-03-01", "2024-03-01", False),
        ("2024", "2024-03-01", False),
        ("2024-03-01T08:00:00-05:00", "2024-03-01T12:59:59Z", True),
        ("2024-03-01T08:00:00-05:00", "2024-03-01T13:00:00Z", False),
        ("2024-03-01T08:00:00-05:00", "2024-03-01", False),
        ("2024-02-30T08:00:00-05:00", "2024-02-29T08:00:00-05:00", True),
    ],
)
def test_order_of_dates_that_are_known_to_different_parts(one: str, other: str, after: bool) -> None:
    assert is_after(one, other) is after


def test_the_models_see_what_medplum_does_not() -> None:
    assert model_fault({"resourceType": "Patient", "birthDate": "2024-02-28"}) is None
    assert model_fault({"resourceType": "Patient", "birthDate": "2024-02-30"})
    assert model_fault({"resourceType": "Patient", "deceasedBoolean": False, "deceasedDateTime": "2024-01-01"})
    assert model_fault({"resourceType": "Nonsense"})


def test_fhirpath_knows_the_identifier_base() -> None:
    patient = {"resourceType": "Patient", "identifier": [{"system": "urn:x/mrn", "value": "007"}]}
    assert compiled("identifier.where(system = %base + '/mrn').value")(patient, {"base": "urn:x"}) == ["007"]


@pytest.mark.parametrize(
    "path", ["identifier.where(", "a b", "a..b", "a.nosuch()", "value[", "", "a.where(x ==1)", "a)"]
)
def test_what_is_no_fhirpath_is_refused_and_not_guessed(path: str) -> None:
    with pytest.raises(BadPath):
        compiled(path)


def written(key: str, kind: str = "Observation", run_id: str = "r") -> WrittenResource:
    return WrittenResource(key, "main", kind, "https://x.example/e", f"id-{key}", "v", "h", run_id)


def differences(judge: Callable[[CheckRecorder], object]) -> list[tuple[str, str]]:
    found: list[Difference] = []
    recorder = CheckRecorder("e", found.extend)
    judge(recorder)
    recorder.flush()
    return [(one.key, one.kind) for one in found]


@pytest.mark.parametrize("run_id", ["r", "earlier"])
def test_a_row_that_failed_has_nothing_written_by_this_run(run_id: str) -> None:
    page = Page(
        "e",
        {"1": Record("1", "north", "rejected", "no-code", "r")},
        {"weight": {"1": written("1", run_id=run_id)}, "height": {}},
    )
    found = differences(lambda recorder: identity.examine_page(page, None, None, recorder))
    assert found == ([("1", "partly written")] if run_id == "r" else [])


def test_some_types_have_one_identifier_and_no_list() -> None:
    one = {"resourceType": "Composition", "identifier": {"system": "https://x.example/e", "value": "1"}}
    assert differences(lambda recorder: identity.examine(written("1"), one, recorder)) == []
    assert differences(lambda recorder: identity.examine(written("2"), one, recorder)) == [("2", "missing")]


def test_an_appointment_is_within_its_patients_life() -> None:
    actors = [{"actor": {"reference": f"{kind}/1"}} for kind in ("Practitioner", "Patient")]
    resource = {"resourceType": "Appointment", "participant": actors, "start": "1800-01-01T00:00:00Z"}
    existing = Mock(learn=lambda references: {one: Life("1950-01-01") for one in references})
    checks = Mock(lifetime=["start"], days_after_death=0)
    found = differences(lambda recorder: examine_lifetimes([(written("1"), resource)], checks, existing, recorder))
    assert found == [("1", "before birth")]


def test_the_validated_sample_is_from_everywhere() -> None:
    client, recorder = Mock(validate=Mock(return_value=None)), CheckRecorder("e", lambda _: None)
    structure = Structure(client, Sampling(seed=4), 50_000)
    resource = {"resourceType": "Basic", "code": {"text": "x"}}
    per_page = []
    for page in range(50):
        before = structure.done
        structure.examine([(written(str(page * 1_000 + number)), resource) for number in range(1_000)], recorder)
        per_page.append(structure.done - before)
    assert 200 < structure.done < 400
    assert sum(number > 0 for number in per_page) > 45
    assert structure.seen == 50_000
    every = Structure(client, Sampling(validate_all=True), 50_000)
    every.examine([(written(str(number)), resource) for number in range(500)], recorder)
    assert every.done == 500


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ({}, None),
        ({"performer": [{"reference": "Patient/2"}]}, "several patients"),
        ({"encounter": {"reference": "Encounter/of-2"}}, "several patients"),
        ({"encounter": {"reference": "Encounter/of-1"}, "performer": [{"reference": "Practitioner/1"}]}, None),
    ],
)
def test_a_resource_is_about_one_patient(more: dict[str, Any], kind: str | None) -> None:
    lives = {"Encounter/of-1": Life(patient="Patient/1"), "Encounter/of-2": Life(patient="Patient/2")}
    existing = Mock(learn=lambda asked: {one: lives.get(one, Life()) for one in asked})
    resource = {"resourceType": "Observation", "subject": {"reference": "Patient/1"}, **more}
    found = differences(lambda recorder: references.examine([(written("1"), resource)], existing, recorder))
    assert found == ([("1", kind)] if kind else [])
