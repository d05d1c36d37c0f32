"""What the server refuses, and what it accepts without complaint."""

import base64
import json
import os
import uuid

import pytest

from tests.contract.changes import CALENDAR, INTEGER_RANGE
from tests.contract.target import Json, Target, text

REFUSED = {
    "wrong JSON type": ({"gender": 1}, "Patient.gender"),
    "object where an array belongs": ({"name": {"family": "x"}}, "Patient.name"),
    "unknown property": ({"nonsense": "x"}, "Patient.nonsense"),
    "bad code in a required binding": ({"gender": "nonsense"}, "Patient.gender"),
    "bad date": ({"birthDate": "1970-13-01"}, "Patient.birthDate"),
    "bad date text": ({"birthDate": "01.02.1970"}, "Patient.birthDate"),
    "control character": ({"name": [{"family": "a\u0001b"}]}, "Patient.name[0].family"),
    "invariant pat-1": ({"contact": [{"gender": "male"}]}, "Patient.contact[0]"),
    "missing required element": ({"link": [{"type": "seealso"}]}, "Patient.link[0].other"),
    "null": ({"active": None}, "Patient.active"),
    "null in an array": ({"name": [{"given": [None]}]}, "Patient.name[0].given[0]"),
    "empty object": ({"name": [{}]}, "Patient.name[0]"),
}

ACCEPTED = {
    "a dateTime with a time and no zone": {"deceasedDateTime": "2020-01-01T10:00:00"},
    "two value[x] at once": {"deceasedBoolean": True, "deceasedDateTime": "2020-01-01"},
    "an unknown profile": {"meta": {"profile": ["https://example.org/nonsense"]}},
    "a dangling reference": {"managingOrganization": {"reference": f"Organization/{uuid.uuid4()}"}},
    "a script": {
        "text": {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml"><script>1</script></div>'}
    },
    "a boolean where an object belongs": {"managingOrganization": True},
    "a lone surrogate": {"name": [{"family": "\ud800"}]},
}


def post(target: Target, resource: Json):
    headers = {"Content-Type": "application/fhir+json"}
    return target.post(resource["resourceType"], content=json.dumps(resource), headers=headers)


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_the_path(target: Target, case: str) -> None:
    elements, path = REFUSED[case]
    answer = post(target, target.patient(**elements))
    assert answer.status_code == 400
    expressions = [expression for issue in answer.json()["issue"] for expression in issue.get("expression", [])]
    assert path in expressions
    assert target.search("Patient", identifier=f"{target.system}|", _summary="count")["total"] == 0


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepted_without_complaint(target: Target, case: str) -> None:
    elements = ACCEPTED[case]
    if "meta" in elements:
        elements = {"meta": target.meta() | elements["meta"]}
    assert post(target, target.patient(**elements)).status_code == 201


@pytest.mark.parametrize(
    ("elements", "path"),
    [
        ({"birthDate": "2024-02-30"}, "Patient.birthDate"),
        ({"deceasedDateTime": "2023-02-29T10:00:00Z"}, "Patient.deceased[x]"),
    ],
    ids=["date", "dateTime"],
)
def test_a_date_that_is_not_in_the_calendar(target: Target, elements: Json, path: str) -> None:
    answer = post(target, target.patient(**elements))
    assert answer.status_code == (400 if target.has(CALENDAR) else 201)
    if answer.status_code == 400:
        assert answer.json()["issue"][0]["expression"] == [path]


@pytest.mark.parametrize("number", [2**31, -(2**31) - 1])
def test_an_integer_outside_of_32_bits(target: Target, number: int) -> None:
    answer = post(target, target.observation({"reference": f"Patient/{uuid.uuid4()}"}, valueInteger=number))
    assert answer.status_code == (400 if target.has(INTEGER_RANGE) else 201)
    within = number - 1 if number > 0 else number + 1
    accepted = target.observation({"reference": f"Patient/{uuid.uuid4()}"}, valueInteger=within)
    assert post(target, accepted).status_code == 201


def test_other_refusals(target: Target) -> None:
    subject = {"reference": f"Patient/{uuid.uuid4()}"}
    obs_6 = target.observation(subject, valueString="x", dataAbsentReason={"text": "y"})
    assert "obs-6" in text(post(target, obs_6).json())
    no_status = {name: value for name, value in target.observation(subject).items() if name != "status"}
    assert post(target, no_status).json()["issue"][0]["expression"] == ["Observation.status"]
    app_3 = {
        "resourceType": "Appointment",
        "status": "booked",
        "participant": [{"status": "accepted", "actor": subject}],
    }
    assert "app-3" in text(post(target, app_3).json())
    assert target.post("Observation", json=target.patient()).status_code == 400


def test_empty_arrays_and_strings_vanish(target: Target) -> None:
    answer = post(target, target.patient(name=[], language=""))
    assert answer.status_code in (201, 400)
    if answer.status_code == 201:
        assert not {"name", "language"} & answer.json().keys()


def test_invalid_utf_8_is_stored_as_replacement(target: Target) -> None:
    body = json.dumps(target.patient(name=[{"family": "a?b"}])).encode().replace(b"a?b", b"a\xffb")
    answer = target.post("Patient", content=body, headers={"Content-Type": "application/fhir+json"})
    assert answer.status_code == 201
    assert answer.json()["name"][0]["family"] == "a\ufffdb"


def test_an_indexed_string_must_fit_into_an_index(target: Target) -> None:
    long = base64.b64encode(os.urandom(3000)).decode()  # random: the database compresses what repeats
    answer = post(target, target.patient(name=[{"family": long}]))
    assert answer.status_code == 400
    assert "index row" in text(answer.json())
    unindexed = post(target, target.patient(extension=[{"url": "urn:x", "valueString": long}]))
    assert unindexed.status_code == 201


def test_validate_checks_without_writing(target: Target) -> None:
    good, bad = target.patient(), target.patient(gender=1)
    assert target.post("Patient/$validate", json=good).status_code == 200
    refused = target.post("Patient/$validate", json=bad)
    assert refused.status_code == 400
    assert refused.json()["issue"][0]["expression"] == ["Patient.gender"]
    assert target.found(target.key(good)) == []
