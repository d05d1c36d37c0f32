"""Quota header, points of each interaction, refusals, and body limits."""

import gzip
import json
import math
import re
import time
import uuid
from collections.abc import Callable

import httpx
import pytest

from tests.contract.changes import BODY_TOO_LARGE, RATE_LIMIT_RESET
from tests.contract.target import Json, Target, create, status, text, update, wait_seconds

HEADER = re.compile(r'^"requests";r=(\d+);t=(\d+), "fhirInteractions";r=(\d+);t=(\d+)$')
MB = 1024 * 1024


def remaining(answer: httpx.Response) -> int:
    match = HEADER.match(answer.headers["RateLimit"])
    assert match, answer.headers["RateLimit"]
    return int(match[3])


def points(target: Target, task: Callable[[], httpx.Response]) -> int:
    """What one request costs; measured again when the window ended in between."""
    while True:
        before = remaining(target.get(f"Patient/{uuid.uuid4()}"))
        cost = before - remaining(task())
        if cost >= 0:
            return cost


def reset_seconds(outcome: Json) -> list[int]:
    """The seconds to wait, as the extension of an OperationOutcome says them."""
    url = "https://medplum.com/fhir/StructureDefinition/rate-limit-reset"
    return [each["valueUnsignedInt"] for each in outcome.get("extension", []) if each["url"] == url]


def reset_seconds_expected(target: Target, outcome: Json) -> list[int]:
    """The same as the diagnostics have it, in whole seconds; none before the extension was there."""
    milliseconds = json.loads(outcome["issue"][0]["diagnostics"])["_msBeforeNext"]
    return [math.ceil(milliseconds / 1000)] if target.has(RATE_LIMIT_RESET) else []


def test_header_counts_requests_and_points(target: Target) -> None:
    answer = target.post("Patient", json=target.patient())
    match = HEADER.match(answer.headers["RateLimit"])
    assert match
    assert 0 < int(match[2]) <= 60
    assert 0 < int(match[4]) <= 60
    assert "Retry-After" not in answer.headers


def test_points_of_reads(target: Target) -> None:
    created = target.create(target.patient())
    url = f"Patient/{created['id']}"
    keys = ",".join(f"{target.system}|{n}" for n in range(1000))
    assert points(target, lambda: target.get(url)) == 1
    assert points(target, lambda: target.get(f"{url}/_history")) == 10
    assert points(target, lambda: target.get("Patient", params={"identifier": target.key(created)})) == 20
    assert points(target, lambda: target.get("Patient", params={"_summary": "count"})) == 20
    assert points(target, lambda: target.post("Patient/_search", data={"identifier": keys})) == 20


def test_points_of_writes(target: Target) -> None:
    created = target.create(target.patient())
    url = f"Patient/{created['id']}"
    patch = [{"op": "add", "path": "/gender", "value": "female"}]
    assert points(target, lambda: target.post("Patient", json=target.patient())) == 100
    assert points(target, lambda: target.post("Patient", json=target.patient(gender=1))) == 100
    assert points(target, lambda: target.put(url, json=created)) == 100
    headers = {"Content-Type": "application/json-patch+json"}
    assert points(target, lambda: target.request("PATCH", url, content=json.dumps(patch), headers=headers)) == 100
    assert points(target, lambda: target.delete(url)) == 100


def test_points_of_conditional_writes(target: Target) -> None:
    put, post = target.patient(), target.patient()
    params = {"identifier": target.key(put)}
    headers = {"If-None-Exist": f"identifier={target.key(post)}"}
    assert points(target, lambda: target.put("Patient", params=params, json=put)) == 120
    assert points(target, lambda: target.put("Patient", params=params, json=put)) == 120
    assert points(target, lambda: target.post("Patient", json=post, headers=headers)) == 120


def test_points_of_conditional_entries(target: Target) -> None:
    put, post = target.patient(), target.patient()
    entry = update(f"Patient?identifier={target.key(put)}", put)
    if_none_exist = create(post, ifNoneExist=f"identifier={target.key(post)}")
    assert points(target, lambda: target.bundle([entry])) == 140
    assert points(target, lambda: target.bundle([entry])) == 120
    assert points(target, lambda: target.bundle([if_none_exist])) == 140
    assert points(target, lambda: target.bundle([if_none_exist])) == 40
    assert points(target, lambda: target.bundle([create(target.patient()) for _ in range(5)])) == 500


def test_over_quota_a_single_request_is_429(embedded) -> None:
    _, target = embedded(quota=250)
    answers = [target.post("Patient", json=target.patient()) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201, 201, 429]
    outcome = answers[-1].json()
    assert outcome["issue"][0]["code"] == "throttled"
    assert 0 < json.loads(outcome["issue"][0]["diagnostics"])["_msBeforeNext"] <= 60_000
    assert reset_seconds(outcome) == reset_seconds_expected(target, outcome)
    assert remaining(answers[-1]) == 0


def test_over_quota_a_batch_is_200_with_429_from_the_first_refused_entry_on(embedded) -> None:
    _, target = embedded(quota=50_000)
    patients = [target.patient(str(n)) for n in range(600)]
    results = target.batch(*(create(patient) for patient in patients))
    assert [status(result) for result in results] == [201] * 500 + [429] * 100
    outcome = results[-1]["response"]["outcome"]
    assert "_msBeforeNext" in text(outcome)
    assert reset_seconds(outcome) == reset_seconds_expected(target, outcome)


def test_the_window_opens_again(embedded) -> None:
    _, target = embedded(quota=100, quota_window=1)
    refused = target.post("Patient", json=target.patient())
    while refused.status_code == 201:  # a slow machine may miss the window
        refused = target.post("Patient", json=target.patient())
    assert refused.status_code == 429
    time.sleep(wait_seconds(refused.json()))
    assert target.post("Patient", json=target.patient()).status_code == 201


def test_body_limit_counts_inflated_bytes(target: Target) -> None:
    padding = [{"url": "urn:padding", "valueString": "x" * 1000}]
    big = target.patient(extension=padding * 1100)
    assert len(json.dumps(big)) > MB
    packed = gzip.compress(json.dumps(big).encode())
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/fhir+json"}
    for answer in (target.post("Patient", json=big), target.post("Patient", content=packed, headers=headers)):
        assert answer.status_code == (413 if target.has(BODY_TOO_LARGE) else 400)
        assert "File too large" in text(answer.json())


def test_gzip_is_taken_and_given(target: Target) -> None:
    patient = target.patient(extension=[{"url": "urn:padding", "valueString": "x" * 1000}] * 20)
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/fhir+json"}
    created = target.post("Patient", content=gzip.compress(json.dumps(patient).encode()), headers=headers)
    assert created.status_code == 201
    answer = target.get(f"Patient/{created.json()['id']}", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.json()["extension"] == patient["extension"]


@pytest.mark.parametrize("content", ["{", "[]x", '"text"', ""])
def test_a_body_that_is_no_json_object_is_400(target: Target, content: str) -> None:
    headers = {"Content-Type": "application/fhir+json"}
    assert target.post("Patient", content=content, headers=headers).status_code == 400
