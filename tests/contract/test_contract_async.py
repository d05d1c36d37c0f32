"""Asynchronous batches."""

import time
from typing import Any

import httpx

from tests.contract.target import Json, Target, create, status

POLL_SECONDS = 60


def submit(target: Target, bundle: Any, prefer: str = "respond-async") -> httpx.Response:
    return target.post("", json=bundle, headers={"Prefer": prefer})


def batch(*entries: Json) -> Json:
    return {"resourceType": "Bundle", "type": "batch", "entry": list(entries)}


def status_path(answer: httpx.Response) -> str:
    return answer.headers["Content-Location"].split("/fhir/R4/")[1]


def wait(target: Target, path: str) -> Json:
    deadline = time.monotonic() + POLL_SECONDS
    while time.monotonic() < deadline:
        answer = target.get(path)
        if answer.status_code == 200:
            return dict(answer.json())
        assert answer.status_code == 202
        time.sleep(0.1)
    raise AssertionError("the job did not end")


def results(target: Target, job: Json) -> list[Json]:
    """The entries of the batch-response."""
    [parameter] = job["output"]["parameter"]
    assert parameter["name"] == "results"
    reference = parameter["valueReference"]["reference"]
    raw = target.get(reference)
    metadata = target.get(reference, headers={"Accept": "application/fhir+json"}).json()
    assert metadata["resourceType"] == "Binary"
    assert raw.json()["type"] == "batch-response"
    return list(raw.json()["entry"])


def test_a_job_runs_and_its_results_are_read_from_a_binary(target: Target) -> None:
    good, bad = target.patient(), target.patient(gender=1)
    answer = submit(target, batch(create(good), create(bad)))
    assert answer.status_code == 202
    assert answer.headers["Content-Location"].startswith(target.base_url)
    assert status_path(answer).startswith("job/") and status_path(answer).endswith("/status")
    job = wait(target, status_path(answer))
    assert (job["resourceType"], job["status"]) == ("AsyncJob", "completed")
    assert [status(entry) for entry in results(target, job)] == [201, 400]
    assert len(target.found(target.key(good))) == 1


def test_another_prefer_runs_synchronously(target: Target) -> None:
    patient = target.patient()
    answer = submit(target, batch(create(patient)), prefer="respond-async, return=minimal")
    assert answer.status_code == 200
    assert "Content-Location" not in answer.headers
    assert len(target.found(target.key(patient))) == 1


def test_a_malformed_bundle_is_accepted_and_ends_in_error(target: Target) -> None:
    answer = submit(target, {"resourceType": "Bundle", "type": "batch"})
    assert answer.status_code == 202
    assert wait(target, status_path(answer))["status"] == "error"


def test_deleting_a_job_does_not_stop_it(target: Target) -> None:
    patients = [target.patient() for _ in range(50)]
    path = status_path(submit(target, batch(*(create(patient) for patient in patients))))
    assert target.delete(path.removesuffix("/status")).status_code == 202
    assert wait(target, path)["status"] == "completed"
    assert len(target.found(target.key(patients[-1]))) == 1


def test_an_asynchronous_body_may_be_over_1_mb(target: Target) -> None:
    padding = [{"url": "urn:padding", "valueString": "x" * 1000}] * 150
    patients = [target.patient(extension=padding) for _ in range(10)]
    answer = submit(target, batch(*(create(patient) for patient in patients)))
    assert answer.status_code == 202
    job = wait(target, status_path(answer))
    assert [status(entry) for entry in results(target, job)] == [201] * 10


def test_a_job_waits_at_the_quota_instead_of_failing(embedded) -> None:
    _, target = embedded(quota=1000, quota_window=1)
    answer = submit(target, batch(*(create(target.patient()) for _ in range(25))))
    while (polled := target.get(status_path(answer))).status_code in (202, 429):
        time.sleep(0.2)
    assert polled.json()["status"] == "completed"
    time.sleep(1)
    assert {status(entry) for entry in results(target, polled.json())} == {201}


def test_submitting_while_exhausted_is_429(embedded) -> None:
    _, target = embedded(quota=100)
    target.create(target.patient())
    assert submit(target, batch(create(target.patient()))).status_code == 429
