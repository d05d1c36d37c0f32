"""Injected faults of the embedded server: each strikes as it says, and only as often as it says."""

import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from embedded_medplum.server import EmbeddedMedplum, ServerError
from tests.contract.target import Target, connect_embedded, create, entry_text, status, text, token

Count = Callable[[], int]


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedMedplum]:
    with EmbeddedMedplum(quota=1_000_000_000, token_limit=1000, faults=True) as running:
        yield running


@pytest.fixture
def target(server: EmbeddedMedplum) -> Iterator[Target]:
    connected = connect_embedded(server)
    yield connected
    server.inject()
    connected.http.close()


@pytest.fixture
def stored(target: Target) -> Count:
    """Counts the patients of this test."""
    return lambda: int(target.search("Patient", identifier=f"{target.system}|", _summary="count")["total"])


def test_throttled_requests(server: EmbeddedMedplum, target: Target, stored: Count) -> None:
    server.inject({"kind": "throttle", "next": 2, "method": "POST", "ms_before_next": 50})
    answers = [target.post("Patient", json=target.patient()) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 201]
    assert answers[0].json()["issue"][0]["code"] == "throttled"
    assert '"_msBeforeNext":50' in text(answers[0].json())
    assert stored() == 1


def test_throttled_entries_stop_the_batch(server: EmbeddedMedplum, target: Target, stored: Count) -> None:
    server.inject({"kind": "entry-throttle", "next": 1, "skip": 3})
    results = target.batch(*(create(target.patient()) for _ in range(5)))
    assert [status(result) for result in results] == [201, 201, 201, 429, 429]
    assert stored() == 3


def test_conflicting_entries_do_not_stop_the_batch(server: EmbeddedMedplum, target: Target, stored: Count) -> None:
    server.inject({"kind": "entry-conflict", "every": 2})
    results = target.batch(*(create(target.patient()) for _ in range(6)))
    assert [status(result) for result in results] == [201, 409] * 3
    assert results[1]["response"]["outcome"]["issue"][0]["code"] == "conflict"
    assert stored() == 3


def test_failing_entries(server: EmbeddedMedplum, target: Target, stored: Count) -> None:
    server.inject({"kind": "entry-error", "next": 1, "method": "create", "path": "^Patient$"})
    results = target.batch(create(target.patient()), create(target.patient()))
    assert [status(result) for result in results] == [500, 201]
    assert "Injected fault" in entry_text(results[0])
    assert stored() == 1


def test_a_failing_database_is_told_as_invalid_entries_that_name_no_place(
    server: EmbeddedMedplum, target: Target, stored: Count
) -> None:
    server.inject({"kind": "entry-invalid", "next": 1})
    results = target.batch(create(target.patient()), create(target.patient()))
    assert [status(result) for result in results] == [400, 201]
    [issue] = results[0]["response"]["outcome"]["issue"]
    assert issue["code"] == "invalid" and "expression" not in issue
    assert entry_text(results[0]) == "Connection terminated unexpectedly"
    assert stored() == 1


def test_a_rule_for_batches_of_writes_or_of_reads_lets_the_others_pass(
    server: EmbeddedMedplum, target: Target, stored: Count
) -> None:
    read = {"request": {"method": "GET", "url": "Patient?_count=1"}}
    for entries, struck, passed in (
        ("writes", create(target.patient()), read),
        ("reads", read, create(target.patient())),
    ):
        server.inject({"kind": "error", "status": 503, "every": 1, "entries": entries, "path": "/fhir/R4/?$"})
        bundle = {"resourceType": "Bundle", "type": "batch"}
        assert target.post("", json={**bundle, "entry": [struck]}).status_code == 503
        assert target.post("", json={**bundle, "entry": [passed]}).status_code == 200
    assert stored() == 1


@pytest.mark.parametrize("code", [500, 502, 503, 504])
def test_server_errors(server: EmbeddedMedplum, target: Target, stored: Count, code: int) -> None:
    server.inject({"kind": "error", "status": code, "next": 1})
    assert target.post("Patient", json=target.patient()).status_code == code
    assert target.post("Patient", json=target.patient()).status_code == 201
    assert stored() == 1


@pytest.mark.parametrize(("kind", "kept"), [("cut-before", 0), ("cut-after", 1)])
def test_cut_connections(server: EmbeddedMedplum, target: Target, stored: Count, kind: str, kept: int) -> None:
    server.inject({"kind": kind, "next": 1, "path": "/fhir/R4/$"})
    with pytest.raises(httpx.TransportError):
        target.bundle([create(target.patient())])
    assert stored() == kept
    assert [status(result) for result in target.batch(create(target.patient()))] == [201]
    assert stored() == kept + 1


def test_a_search_that_finds_nothing(server: EmbeddedMedplum, target: Target, stored: Count) -> None:
    answer = target.post("Patient", json=target.patient())
    server.inject({"kind": "no-match", "every": 1, "path": "^Patient[?]identifier="})
    assert stored() == 0
    assert target.search("Patient", _id=answer.json()["id"], _total="accurate")["total"] == 1
    server.inject()
    assert stored() == 1


def test_a_phantom_answers_201_and_stores_nothing(server: EmbeddedMedplum, target: Target, stored: Count) -> None:
    server.inject({"kind": "phantom", "next": 1, "method": "POST"})
    results = target.batch(create(target.patient()), create(target.patient()))
    assert [status(result) for result in results] == [201, 201]
    assert target.get(results[0]["response"]["location"]).status_code == 404
    assert stored() == 0
    target.create(target.patient())
    assert stored() == 1


def test_slowness(server: EmbeddedMedplum, target: Target) -> None:
    server.inject({"kind": "delay", "ms": 400, "next": 1})
    started = time.monotonic()
    target.get("Patient")
    slow = time.monotonic() - started
    assert slow >= 0.4


def test_revoked_token(server: EmbeddedMedplum, target: Target) -> None:
    server.inject({"kind": "revoke-token", "next": 1})
    assert [target.get("Patient").status_code for _ in range(2)] == [401, 401]
    fresh = token(target.base_url, target.client_id, target.client_secret)
    target.http.headers["Authorization"] = f"Bearer {fresh}"
    assert target.get("Patient").status_code == 200


def test_a_seed_repeats_the_same_faults(server: EmbeddedMedplum, target: Target) -> None:
    def pattern(seed: int) -> list[int]:
        server.inject({"kind": "error", "probability": 0.5, "seed": seed})
        return [target.get("Patient").status_code for _ in range(30)]

    first, again, other = pattern(7), pattern(7), pattern(8)
    assert first == again
    assert first != other
    assert set(first) == {200, 500}


def test_rules_match_method_and_path(server: EmbeddedMedplum, target: Target) -> None:
    server.inject({"kind": "error", "probability": 1, "method": "get", "path": "/Observation"})
    assert target.get("Patient").status_code == 200
    assert target.get("Observation").status_code == 500
    rules = httpx.get(f"{target.base_url}faults").json()["rules"]
    assert [(rule["seen"], rule["fired"]) for rule in rules] == [(1, 1)]


@pytest.mark.parametrize("rule", [{"kind": "nonsense", "next": 1}, {"kind": "error"}])
def test_a_rule_that_makes_no_sense_is_refused(server: EmbeddedMedplum, target: Target, rule: dict) -> None:
    with pytest.raises(ServerError):
        server.inject(rule)


def test_without_the_flag_there_is_no_switch(embedded) -> None:
    server, target = embedded()
    with pytest.raises(ServerError):
        server.inject({"kind": "error", "next": 1})
    assert target.get("Patient").status_code == 200


def test_the_log_holds_no_bodies_and_no_query_strings(server: EmbeddedMedplum, target: Target) -> None:
    canary = "Zzcanary"
    target.create(target.patient(name=[{"family": canary}]))
    target.search("Patient", family=canary)
    server.inject({"kind": "entry-error", "next": 1})
    target.batch(create(target.patient(name=[{"family": canary}])))
    target.bundle([create(target.patient(canary, gender=canary))])
    assert server.log_file is not None
    log = server.log_file.read_text()
    assert "POST /fhir/R4/Patient 201" in log
    assert canary not in log


def test_requests_in_flight_are_told_apart(server: EmbeddedMedplum, target: Target, stored: Count) -> None:
    server.inject({"kind": "phantom", "every": 2, "path": "/fhir/R4/$"})
    lanes = [threading.Thread(target=target.batch, args=[create(target.patient())]) for _ in range(8)]
    for lane in lanes:
        lane.start()
    for lane in lanes:
        lane.join()
    assert stored() == 4
