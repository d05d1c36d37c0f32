"""What is read of Medplum's answers, whatever stands in them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from medferry.fhir.canonical import canonical, has_content
from medferry.medplum.answers import (
    EntryOutcome,
    ReadAnswer,
    read_answers,
    read_bundle,
    read_outcomes,
    read_text,
)
from medferry.medplum.outcome import is_placed, issue_text, throttled_seconds

ID = b'"90f58b05-912e-4f57-a0dd-8993f953f9e1"'
REFUSAL = {
    "issue": [
        {"severity": "warning", "code": "informational"},
        {
            "severity": "error",
            "code": "invalid",
            "details": {"text": "Ada Byron is wrong"},
            "expression": ["Patient.name"],
        },
    ]
}


def outcomes(*entries: dict[str, Any]) -> tuple[list[EntryOutcome], float | None]:
    return read_outcomes(orjson.dumps({"resourceType": "Bundle", "type": "batch-response", "entry": entries}))


def throttled(diagnostics: str) -> dict[str, Any]:
    return {"response": {"status": "429", "outcome": {"issue": [{"code": "throttled", "diagnostics": diagnostics}]}}}


def test_an_issue_is_told_by_code_and_path_only() -> None:
    assert issue_text(REFUSAL) == "invalid at Patient.name"
    assert issue_text(None) == issue_text({}) == ""


def test_an_invariant_is_told_by_its_key() -> None:
    told = {"text": "Constraint ait-1 not met: AllergyIntolerance.clinicalStatus SHALL be present"}
    issue = {"severity": "error", "code": "invariant", "details": told, "expression": ["AllergyIntolerance"]}
    assert issue_text({"issue": [issue]}) == "invariant ait-1 at AllergyIntolerance"
    issue["details"] = {"text": "Constraint Ada Byron not met"}
    assert issue_text({"issue": [issue]}) == "invariant at AllergyIntolerance"


def test_each_entry_has_its_own_outcome() -> None:
    done = {
        "resource": {"resourceType": "Patient", "id": "7", "meta": {"versionId": "v"}, "name": [{"family": "x"}]},
        "response": {"status": "201 Created", "outcome": {"issue": [{"severity": "information", "code": "created"}]}},
    }
    refused = {"response": {"status": "400", "outcome": REFUSAL}}
    found, wait = outcomes(done, refused, {}, {"response": {"status": "teapot"}})
    assert found == [
        EntryOutcome(201, "", "7", "v"),
        EntryOutcome(400, "invalid at Patient.name"),
        EntryOutcome(0),
        EntryOutcome(0),
    ]
    assert [outcome.done for outcome in found] == [True, False, False, False]
    assert wait is None


def test_the_first_throttled_entry_says_how_long_to_wait() -> None:
    assert outcomes(throttled('{"_msBeforeNext": 1500}'), throttled("{}"))[1] == 1.5
    assert outcomes(throttled("soon"))[1] == 60.0


def test_the_extension_says_how_long_to_wait_where_the_diagnostics_do_not() -> None:
    reset = {"url": "https://medplum.com/fhir/StructureDefinition/rate-limit-reset", "valueUnsignedInt": 7}
    other = {"url": "urn:other", "valueUnsignedInt": 3}
    assert throttled_seconds({"issue": [{"code": "throttled"}], "extension": [other, reset]}) == 7.0
    assert throttled_seconds({"issue": [{"diagnostics": '{"_msBeforeNext": 1500}'}], "extension": [reset]}) == 1.5
    assert throttled_seconds({"issue": [], "extension": [other]}) == 60.0


@pytest.mark.parametrize(
    "answer", [b"", b"<html>", b"[]", b'{"entry": 7}', b'{"entry": [{"response": 7}]}', b'{"a":"\xff"}']
)
def test_what_is_no_batch_response_has_no_outcomes(answer: bytes) -> None:
    try:
        found, _ = read_outcomes(answer)
    except ValueError:
        found = []
    assert found == []


def test_what_is_read_stays_as_it_is() -> None:
    text = b'{ "resourceType":"Patient", "meta":{"versionId":"v"},"id":"7", "x":1.50 }'
    answers, wait = read_answers(
        b'{"resourceType":"Bundle","type":"batch-response","entry":[{"response":{"status":"200"},"resource": %b },'
        b'{"response":{"status":"404","outcome":{"resourceType":"OperationOutcome"}}}]}' % text
    )
    assert [(answer.status, answer.resource) for answer in answers] == [(200, text), (404, b"null")]
    assert wait is None
    assert read_text(answers[0].resource) == ("v", text)
    with pytest.raises(ValueError):
        read_answers(b"<html>")


@pytest.mark.parametrize(
    ("issue", "placed"),
    [
        ({"expression": ["Patient.birthDate"]}, True),
        ({"location": ["Patient.birthDate"]}, True),
        ({"details": {"text": 'index row size 3024 exceeds btree version 4 maximum 2704 for index "x"'}}, True),
        ({"details": {"text": "Multiple resources found matching condition"}}, True),
        ({"details": {"text": "Connection terminated unexpectedly"}}, False),
        ({"details": {"text": "the database system is shutting down"}}, False),
        ({"details": {"text": "Reached the max retries per request limit"}}, False),
        ({}, False),
    ],
)
def test_a_refusal_is_about_the_resource_or_names_no_place(issue: dict[str, object], placed: bool) -> None:
    assert is_placed({"resourceType": "OperationOutcome", "issue": [{"code": "invalid", **issue}]}) is placed


def test_a_lone_surrogate_of_somebody_elses_is_read_and_is_no_content_of_ours() -> None:
    text = b'{"resourceType": "Patient", "id": "7", "meta": {"versionId": "v"}, "name": [{"family": "\\ud800"}]}'
    version, found = read_text(text)
    assert version == "v"
    assert not has_content(found, canonical({"resourceType": "Patient", "name": [{"family": "A"}]}))
    bundle = read_bundle(b'{"resourceType": "Bundle", "entry": [{"resource": ' + text.replace(b'"7"', ID) + b"}]}")
    assert bundle["entry"][0]["resource"]["name"] == [{"family": "\ud800"}]
    answers = (
        b'{"entry": [{"response": {"status": "200"}, "resource": ' + text + b'}, {"response": {"status": "404"}}, {}]}'
    )
    odd, *others = read_answers(answers)[0]
    assert read_text(odd.resource) == (version, found)
    assert others == [ReadAnswer(404, b"null", "", False), ReadAnswer(0, b"null")]
    for broken in (answers[:-1], b'["\\ud800"]', b'{"entry": [["\\ud800"]]}'):
        with pytest.raises(ValueError):
            read_answers(broken)
