"""What is read of Medplum's answers, whatever stands in them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from medferry.fhir.canonical import canonical, has_content
from medferry.medplum.answers import EntryOutcome, issue_text, read_outcomes, read_texts, throttled_seconds

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


def test_texts_stay_as_they_are() -> None:
    text = b'{ "resourceType":"Patient", "meta":{"versionId":"v"},"id":"7", "x":1.50 }'
    searchset = b'{"resourceType":"Bundle","link":[],"entry":[{"fullUrl":"u","resource": %b }]}' % text
    assert read_texts(searchset) == {"7": ("v", text)}
    assert read_texts(b'{"resourceType":"Bundle"}') == {}
    with pytest.raises(ValueError):
        read_texts(b'{"resourceType":"OperationOutcome"}')


def test_a_lone_surrogate_of_somebody_elses_is_read_and_is_no_content_of_ours() -> None:
    text = b'{"resourceType": "Patient", "id": "7", "meta": {"versionId": "v"}, "name": [{"family": "\\ud800"}]}'
    found = read_texts(b'{"resourceType":"Bundle","entry":[{"resource":%b}]}' % text)
    assert found == {"7": ("v", text)}
    assert not has_content(found["7"][1], canonical({"resourceType": "Patient", "name": [{"family": "A"}]}))
