"""Asynchronous batches against the embedded server: outcomes, refusals, jobs that fail, hang, die and run twice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import pytest

from embedded_medplum.server import EmbeddedMedplum
from medferry.fhir.bundle import by_name
from medferry.medplum import jobs
from medferry.medplum.answers import EntryOutcome
from medferry.medplum.budget import Budget
from medferry.medplum.client import MedplumClient
from medferry.medplum.errors import JobFailed, JobStuck, MedplumUnavailable, RequestTooLarge, Throttled, Unauthorised

BATCH = {"method": "POST", "path": "/fhir/R4/?$"}
_numbers = count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedMedplum]:
    with EmbeddedMedplum(faults=True, quota=1_000_000_000) as server:
        yield server


@pytest.fixture
def client(server: EmbeddedMedplum) -> Iterator[MedplumClient]:
    with connected(server) as client:
        yield client
    server.inject()


@pytest.fixture
def system() -> str:
    """An identifier system of this test's own."""
    return f"https://jobs.example/{next(_numbers)}"


def connected(server: EmbeddedMedplum) -> MedplumClient:
    return MedplumClient(server.base_url, server.client_id, server.client_secret)


def create(system: str, value: str, **elements: Any) -> dict[str, Any]:
    """The entry that creates a patient under this identifier."""
    resource = {"resourceType": "Patient", "identifier": [{"system": system, "value": value}], **elements}
    request = {"method": "POST", "url": "Patient", "ifNoneExist": by_name((system, value))}
    return {"resource": resource, "request": request}


def update(resource: dict[str, Any], **elements: Any) -> dict[str, Any]:
    """The entry that updates a patient as it was read."""
    place, version = f"Patient/{resource['id']}", f'W/"{resource["meta"]["versionId"]}"'
    return {"resource": {**resource, **elements}, "request": {"method": "PUT", "url": place, "ifMatch": version}}


def run(client: MedplumClient, entries: list[dict[str, Any]]) -> list[EntryOutcome]:
    return jobs.fetch(client, jobs.wait(client, jobs.submit(client, entries)), len(entries))


def statuses(outcomes: list[EntryOutcome]) -> list[int]:
    return [outcome.status for outcome in outcomes]


def test_a_job_gives_every_entrys_own_outcome_in_order(client: MedplumClient, system: str) -> None:
    values = ["plain", "with space", "com,ma", "a&b=c", "ümlaut", "1|2"]
    outcomes = run(client, [*(create(system, value) for value in values), create(system, "bad", gender=1)])
    assert statuses(outcomes) == [201] * len(values) + [400]
    texts = client.texts_by_id("Patient", [outcome.id for outcome in outcomes[:-1]])
    order = [orjson.loads(texts[outcome.id][1])["identifier"][0]["value"] for outcome in outcomes[:-1]]
    assert order == values
    assert "gender" in outcomes[-1].issue
    assert len(client.by_identifier("Patient", system, values)) == len(values)


def test_the_status_is_a_path_and_tells_nothing_until_the_end(
    client: MedplumClient, system: str, server: EmbeddedMedplum
) -> None:
    server.inject({"kind": "job-hang", "ms": 300, "next": 1})
    path = jobs.submit(client, [create(system, "1")])
    assert path.startswith("fhir/R4/job/") and path.endswith("/status")
    assert jobs.poll(client, path) is None
    assert client.binary(jobs.wait(client, path))


def test_a_body_beyond_the_synchronous_limit_is_taken(client: MedplumClient, system: str) -> None:
    note = [{"url": "urn:padding", "valueString": "x" * 300_000}]
    entries = [create(system, str(number), extension=note) for number in range(5)]
    with pytest.raises(RequestTooLarge):
        client.batch(entries, 500)
    assert statuses(run(client, entries)) == [201] * 5


def test_the_same_entries_run_twice_change_nothing(client: MedplumClient, system: str) -> None:
    run(client, [create(system, "old")])
    [old] = client.by_id("Patient", [r["id"] for r in client.by_identifier("Patient", system, ["old"])]).values()
    entries = [create(system, "new"), update(old, gender="female")]
    assert statuses(run(client, entries)) == [201, 200]
    before = snapshot(client, system)
    assert statuses(run(client, entries)) == [200, 412]
    assert snapshot(client, system) == before
    assert len(before) == 2


def snapshot(client: MedplumClient, system: str) -> dict[str, str]:
    """Id → version of every patient."""
    return {r["id"]: r["meta"]["versionId"] for r in client.search_all("Patient", [("identifier", f"{system}|")])}


@pytest.mark.parametrize(
    ("rule", "kind", "done"),
    [
        ({"kind": "throttle", "ms_before_next": 50}, Throttled, False),
        ({"kind": "error", "status": 503}, MedplumUnavailable, False),
        ({"kind": "cut-before"}, MedplumUnavailable, False),
        ({"kind": "cut-after"}, MedplumUnavailable, True),
    ],
)
def test_a_refused_or_unanswered_submission_has_its_type(
    client: MedplumClient, system: str, server: EmbeddedMedplum, rule: dict[str, Any], kind: type[Exception], done: bool
) -> None:
    server.inject({**rule, "next": 1, **BATCH})
    with pytest.raises(kind):
        jobs.submit(client, [create(system, "1")])
    run(client, [create(system, "2")])  # the server runs jobs one by one: the first, if any, is over now
    assert len(snapshot(client, system)) == (2 if done else 1)


def test_a_wrong_secret_is_told(system: str, server: EmbeddedMedplum) -> None:
    with pytest.raises(Unauthorised):
        jobs.submit(MedplumClient(server.base_url, server.client_id, "wrong"), [create(system, "1")])


def test_a_server_that_runs_it_synchronously_is_told(
    client: MedplumClient, system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    post = client.post_batch
    monkeypatch.setattr(client, "post_batch", lambda entries, cost, **_: post(entries, cost))
    with pytest.raises(MedplumUnavailable, match="did not take a batch as a job"):
        jobs.submit(client, [create(system, "1")])


def test_a_job_that_ends_in_error_is_told_whatever_it_did(
    client: MedplumClient, system: str, server: EmbeddedMedplum
) -> None:
    server.inject({"kind": "job-error", "after": 1, "next": 1})
    with pytest.raises(JobFailed, match="ended in error"):
        run(client, [create(system, "1"), create(system, "2")])
    assert len(snapshot(client, system)) == 1
    assert statuses(run(client, [create(system, "1"), create(system, "2")])) == [200, 201]


def test_a_malformed_bundle_ends_in_error(client: MedplumClient, system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = client._send(
        "POST", "fhir/R4/", 1, json={"resourceType": "Bundle", "type": "batch"}, headers={"Prefer": "respond-async"}
    )
    with pytest.raises(JobFailed):
        jobs.wait(client, "fhir/R4/" + answer.headers["Content-Location"].split("/fhir/R4/")[1])


@pytest.mark.parametrize("path", ["fhir/R4/job/00000000-0000-4000-8000-000000000000/status", "fhir/R4/Patient/none"])
def test_a_job_that_the_server_does_not_know_has_failed(client: MedplumClient, system: str, path: str) -> None:
    with pytest.raises(JobFailed, match="no longer knows"):
        jobs.poll(client, path)
    with pytest.raises(JobFailed, match="results are gone"):
        jobs.fetch(client, "00000000-0000-4000-8000-000000000000", 1)


def test_results_for_another_number_of_entries_are_not_trusted(client: MedplumClient, system: str) -> None:
    results = jobs.wait(client, jobs.submit(client, [create(system, "1")]))
    with pytest.raises(MedplumUnavailable, match="does not fit"):
        jobs.fetch(client, results, 2)


def test_a_job_without_end_is_stuck_and_may_still_run(
    client: MedplumClient, system: str, server: EmbeddedMedplum, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "STUCK_AFTER", 0.2)
    server.inject({"kind": "job-hang", "ms": 600, "next": 1})
    path = jobs.submit(client, [create(system, "1")])
    with pytest.raises(JobStuck, match=r"no end within 0 s.*Check Medplum's workers"):
        jobs.wait(client, path)
    assert len(snapshot(client, system)) == 0
    monkeypatch.setattr(jobs, "STUCK_AFTER", 30)
    assert statuses(jobs.fetch(client, jobs.wait(client, path), 1)) == [201]


def test_the_pauses_between_polls_grow_to_their_limit(
    client: MedplumClient, system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([None] * 20 + ["1"])
    monkeypatch.setattr(jobs, "poll", lambda *_: next(answers))
    pauses: list[float] = []
    assert jobs.wait(client, "any", sleep=pauses.append) == "1"
    assert pauses[0] == 0.05 and pauses[-1] == 5.0
    assert pauses == sorted(pauses) and sum(pauses) < jobs.STUCK_AFTER


def test_a_job_outlives_a_restart_of_its_server_and_runs_again(system: str, tmp_path: Path) -> None:
    with EmbeddedMedplum(data=tmp_path / "m.db", faults=True, quota=10**9, job_resume_seconds=0.3) as server:
        client = connected(server)
        server.inject({"kind": "job-hang", "after": 2, "ms": 60_000, "next": 1})
        path = jobs.submit(client, [create(system, str(number)) for number in range(4)])
        while len(snapshot(client, system)) < 2:
            pass
        before = snapshot(client, system)
        server.kill()
        server.start()
        assert statuses(jobs.fetch(client, jobs.wait(client, path), 4)) == [200, 200, 201, 201]
        after = snapshot(client, system)
        assert len(after) == 4 and before.items() <= after.items()


def test_polling_an_exhausted_quota_waits_for_the_reset(system: str) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        time.sleep(seconds)

    with EmbeddedMedplum(quota=1_000, quota_window=1) as server:
        client = MedplumClient(server.base_url, server.client_id, server.client_secret, Budget(sleep=sleep))
        assert statuses(run(client, [create(system, str(number)) for number in range(20)])) == [201] * 20
    assert slept
