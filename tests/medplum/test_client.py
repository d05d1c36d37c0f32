"""The client against the embedded server: types of failure, searches, the token."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator

import httpx
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from embedded_medplum.server import EmbeddedMedplum
from medferry.fhir.references import system_token
from medferry.medplum.client import MedplumClient, Resource
from medferry.medplum.errors import (
    MedplumUnavailable,
    NotReached,
    NoVerdict,
    RequestFailed,
    RequestRefused,
    RequestTooLarge,
    Throttled,
    Unauthorised,
)
from medferry.medplum.http import query_text
from medferry.medplum.oauth import Token, profile_of
from tests.lagging_proxy import LaggingProxy

SYSTEM = "https://client.example/thing"


def patient(value: str) -> dict[str, object]:
    return {"resourceType": "Patient", "identifier": [{"system": SYSTEM, "value": value}]}


def create(resource: dict[str, object]) -> dict[str, object]:
    return {"resource": resource, "request": {"method": "POST", "url": resource["resourceType"]}}


@pytest.fixture
def client(medplum: EmbeddedMedplum) -> MedplumClient:
    return MedplumClient(medplum.base_url, medplum.client_id, medplum.client_secret)


def test_identifiers_with_awkward_characters_are_found(client: MedplumClient) -> None:
    values = ["plain", "with space", "com,ma", "back\\slash", "dol$lar", "ümlaut", "a&b=c", "0007"]
    outcomes = client.batch([create(patient(value)) for value in values], 800)
    assert [outcome.status for outcome in outcomes] == [201] * len(values)
    found = client.by_name("Patient", SYSTEM, values)
    assert {resource["identifier"][0]["value"] for resource in found} == set(values)
    ids = [resource["id"] for resource in found]
    assert len(client.by_id("Patient", ids)) == len(values)
    texts = client.read_each([("Patient", one) for one in ids])
    assert {one: version for one, (version, _) in texts.items()} == client.versions("Patient", ids)
    assert {orjson.loads(text)["identifier"][0]["value"] for _, text in texts.values()} == set(values)


def test_long_identifiers_are_looked_up_in_as_many_searches_as_their_bytes_need(client: MedplumClient) -> None:
    values = [f"{'医' * 330}{number:03}" for number in range(300)]
    outcomes = client.batch([create(patient(value)) for value in values], 0)
    assert {outcome.status for outcome in outcomes} == {201}
    before = client.sent
    found = client.by_name("Patient", SYSTEM, values)
    assert sorted(resource["identifier"][0]["value"] for resource in found) == values
    assert client.sent - before == 16


class Recording(MedplumClient):
    """Answers each search with what it asks for, and keeps the searches."""

    def __init__(self) -> None:
        self.searches: list[list[tuple[str, str]]] = []

    def search(self, _resource_type: str, parameters: Iterable[tuple[str, str]], **_: bool) -> Resource:
        form = list(parameters)
        self.searches.append(form)
        tokens = re.split(r"(?<!\\),", form[0][1])
        return {"entry": [{"resource": {"token": token}} for token in tokens]}


@settings(max_examples=60, deadline=None)
@example(lengths=[1_000] * 69, sign="a", resource_type="Patient")
@given(
    lengths=st.lists(st.integers(1, 1_000), min_size=1, max_size=500),
    sign=st.sampled_from(["a", ",", "|", "\\", "é", "医", "😀", " "]),
    resource_type=st.sampled_from(["Patient", "Provenance"]),
)
def test_each_name_is_asked_for_once_in_queries_that_fit(lengths: list[int], sign: str, resource_type: str) -> None:
    values = [f"{sign * (length // len(sign.encode()))}{number}" for number, length in enumerate(lengths)]
    client = Recording()
    found = client.by_name(resource_type, SYSTEM, values)
    assert [resource["token"] for resource in found] == [system_token(SYSTEM, value) for value in values]
    assert {form[0][0] for form in client.searches} == {"identifier" if resource_type == "Patient" else "_tag"}
    for form in client.searches:
        assert len(f"{resource_type}?{query_text(form)}") < 70_000  # as it is sent; Medplum's router takes no more


class Parts:
    """Bytes in parts, from their beginning each time; counts how often."""

    walks = 0

    def __iter__(self) -> Iterator[bytes]:
        self.walks += 1
        return iter([b"\x00" * 700_000, b"\xff" * 700_000])


def test_bytes_are_uploaded_in_parts_and_read_back(client: MedplumClient, medplum: EmbeddedMedplum) -> None:
    parts, noted = Parts(), list[int]()
    medplum.inject({"kind": "revoke-token", "next": 1, "method": "POST", "path": "/Binary$"})
    binary = client.upload(parts, 1_400_000, "image/tiff", lambda: noted.append(1))
    assert (parts.walks, noted) == (2, [1])
    whole = b"".join(parts)
    assert client.binary_digest(binary) == hashlib.sha256(whole).hexdigest()
    assert client.binary(binary) == whole
    assert client.binary_digest("00000000-0000-4000-8000-000000000000") is None


def test_a_walk_goes_beyond_a_page(client: MedplumClient) -> None:
    for start in range(0, 1200, 400):
        client.batch([create(patient(str(start + n))) for n in range(400)], 0)
    walked = [r["identifier"][0]["value"] for r in client.search_all("Patient", [("identifier", f"{SYSTEM}|")])]
    assert sorted(set(walked), key=int) == [str(n) for n in range(1200)]
    assert client.count("Patient") == 1200


def test_no_identifier_is_missed_when_each_stands_in_several_resources(client: MedplumClient) -> None:
    values = [str(number) for number in range(500)]
    for _ in range(3):
        client.batch([create(patient(value)) for value in values], 0)
    found = client.by_name("Patient", SYSTEM, values)
    assert len({resource["id"] for resource in found}) == 1_500


def test_failures_have_types(client: MedplumClient, medplum: EmbeddedMedplum) -> None:
    entry = [create(patient("1"))]
    for rule, kind in (
        ({"kind": "throttle", "ms_before_next": 50}, Throttled),
        ({"kind": "error", "status": 500}, MedplumUnavailable),
        ({"kind": "cut-before"}, MedplumUnavailable),
        ({"kind": "cut-after"}, MedplumUnavailable),
    ):
        medplum.inject({**rule, "next": 1, "method": "POST", "path": "/fhir/R4/?$"})
        with pytest.raises(kind):
            client.batch(entry, 100)
    with pytest.raises(RequestTooLarge):
        client.batch([create({**patient("2"), "name": [{"text": "x" * 2_000_000}]})], 100)
    with pytest.raises(RequestRefused, match="HTTP 400"):
        client._read("POST", "fhir/R4/Patient/_search", 20, data=[("_offset", "20000")])


@pytest.mark.parametrize("status", [400, 413])
def test_a_body_that_is_too_large_has_its_type_with_every_version(client: MedplumClient, status: int) -> None:
    """The embedded server answers 413, as the newest; 5.0.10 answered 400 with the same text."""
    outcome = {"resourceType": "OperationOutcome", "issue": [{"details": {"text": "File too large"}}]}
    with pytest.raises(RequestTooLarge):
        client._raise_for(httpx.Response(status, json=outcome))
    with pytest.raises(RequestRefused):
        client._raise_for(httpx.Response(400, json={**outcome, "issue": [{"details": {"text": "Invalid"}}]}))


def test_a_read_is_tried_again(client: MedplumClient, medplum: EmbeddedMedplum) -> None:
    medplum.inject({"kind": "error", "status": 503, "next": 2, "path": "/fhir/R4/?$"})
    assert client.count("Patient") == 0


def test_no_search_is_answered_by_a_replica_that_lags(medplum: EmbeddedMedplum) -> None:
    with LaggingProxy(medplum.base_url, lag=60.0) as proxy:
        behind = MedplumClient(proxy.base_url, medplum.client_id, medplum.client_secret)
        [outcome] = behind.batch([create(patient("1"))], 100)
        everything = [("identifier", f"{SYSTEM}|")]
        assert behind.count("Patient", everything) == 1
        assert [one["id"] for one in behind.search_all("Patient", everything)] == [outcome.id]
        assert behind.by_id("Patient", [str(outcome.id)]).keys() == {outcome.id}


@pytest.mark.parametrize("body", [b"", b"<html>proxy</html>", b"[]", b'{"resourceType":"OperationOutcome"}'])
def test_a_search_that_answers_no_bundle_is_not_taken_for_nothing_found(
    client: MedplumClient, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    monkeypatch.setattr(client, "_read", lambda *_, **__: httpx.Response(200, content=body))
    with pytest.raises(MedplumUnavailable, match="no Bundle"):
        client.by_name("Patient", SYSTEM, ["1"])
    with pytest.raises(MedplumUnavailable, match="no Bundle"):
        client.read_each([("Patient", "1")])


def test_what_is_read_by_id_is_there_or_missing(client: MedplumClient) -> None:
    [outcome] = client.batch([create(patient("1"))], 100)
    found = client.read_each([("Patient", outcome.id), ("Patient", "00000000-0000-4000-8000-000000000000")])
    assert found.keys() == {outcome.id}
    version, text = found[outcome.id]
    assert (version, orjson.loads(text)["identifier"][0]["value"]) == (outcome.version, "1")
    assert client.read_each([]) == {}


@pytest.mark.parametrize("status", ["500", "400"])
def test_a_read_in_a_batch_that_failed_is_not_taken_for_nothing_found(
    client: MedplumClient, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    """While its database is away, Medplum answers 200 with an "invalid" that names no place in each entry."""
    outcome = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "invalid"}]}
    answer = {"resourceType": "Bundle", "entry": [{"response": {"status": status, "outcome": outcome}}]}
    monkeypatch.setattr(client, "_read", lambda *_, **__: httpx.Response(200, json=answer))
    with pytest.raises(RequestFailed):
        client.by_name("Patient", SYSTEM, ["1"])
    with pytest.raises(RequestFailed):
        client.read_each([("Patient", "1")])


def test_a_revoked_token_is_renewed_unseen_and_a_wrong_secret_is_not(
    client: MedplumClient, medplum: EmbeddedMedplum
) -> None:
    assert client.count("Patient") == 0
    medplum.inject({"kind": "revoke-token", "next": 1})
    assert client.count("Patient") == 0
    with (
        MedplumClient(medplum.base_url, medplum.client_id, "wrong") as stranger,
        pytest.raises(Unauthorised, match="MEDFERRY_MEDPLUM_CLIENT_SECRET"),
    ):
        stranger.count("Patient")


STRUCTURE = {"severity": "error", "code": "structure", "expression": ["Patient.name"]}


def outcome(*issues: dict[str, object]) -> bytes:
    return orjson.dumps({"resourceType": "OperationOutcome", "issue": list(issues)})


def answered(client: MedplumClient, monkeypatch: pytest.MonkeyPatch, status: int, body: bytes) -> str | None:
    """What `validate` says of an answer."""
    monkeypatch.setattr(client, "_exchange", lambda *_: httpx.Response(status, content=body))
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _: None)
    return client.validate(patient("1"))


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (302, b"", MedplumUnavailable),
        (200, b"", NoVerdict),
        (200, b"<html>Sign in</html>", NoVerdict),
        (200, b'{"resourceType":"Patient"}', NoVerdict),
        (200, outcome(), NoVerdict),
        (200, b'{"resourceType":"OperationOutcome","issue":"ok"}', NoVerdict),
        (400, b"<html>Bad request</html>", NoVerdict),
        (400, outcome({"severity": "error", "code": "invalid"}), NoVerdict),  # a database that is away
        (404, outcome({"severity": "error", "code": "not-found"}), NoVerdict),
        (401, b"", Unauthorised),
        (403, outcome({"severity": "error", "code": "forbidden"}), Unauthorised),
        (500, b"", MedplumUnavailable),
        (503, outcome(STRUCTURE), MedplumUnavailable),
    ],
)
def test_an_answer_that_is_no_verdict_of_validate_is_none(
    client: MedplumClient, monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        answered(client, monkeypatch, status, body)


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (200, outcome({"severity": "information", "code": "informational"}), None),
        (200, outcome(STRUCTURE), "structure at Patient.name"),
        (400, outcome(STRUCTURE), "structure at Patient.name"),
    ],
)
def test_a_verdict_of_validate_is_an_outcome_about_the_resource(
    client: MedplumClient, monkeypatch: pytest.MonkeyPatch, status: int, body: bytes, verdict: str | None
) -> None:
    assert answered(client, monkeypatch, status, body) == verdict


def test_validate_of_the_server_itself_is_a_verdict(client: MedplumClient) -> None:
    assert client.validate(patient("1")) is None
    assert "Patient.gender" in (client.validate({**patient("1"), "gender": 7}) or "")


def test_a_walk_that_may_miss_some_is_not_believed(client: MedplumClient, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"resource": {"id": "1", "meta": {"lastUpdated": "2026-01-01T00:00:00.000Z"}}}
    page = {"entry": [entry] * 3, "link": [{"relation": "next", "url": "https://x.example/Patient?_cursor=1"}]}
    monkeypatch.setattr(client, "search", lambda *_: page)
    with pytest.raises(NoVerdict, match="of one moment"):
        list(client.search_all("Patient", []))


def test_a_client_knows_as_whom_it_writes(client: MedplumClient, medplum: EmbeddedMedplum) -> None:
    ours = f"ClientApplication/{medplum.client_id}"
    assert client.profile() == ours
    client._tokens.profile = ""
    assert client.profile() == ours  # auth/me
    me = {"profile": {"resourceType": "ClientApplication", "id": "1"}}
    client._tokens.profile = ""
    assert profile_of(client._tokens, lambda *_: httpx.Response(200, json=me)) == "ClientApplication/1"
    assert profile_of(client._tokens, lambda *_: httpx.Response(200, text="<html>")) == ours  # with the token
    client._tokens.shared.token = Token()
    for silent in ({}, {"profile": None}, {"profile": {"id": "1"}}):
        assert profile_of(client._tokens, lambda *_, told=silent: httpx.Response(200, json=told)) == ""
    assert profile_of(client._tokens, lambda *_: httpx.Response(200, text="<html>")) == ""


def test_a_history_is_read_to_its_end_with_its_authors(client: MedplumClient, monkeypatch: pytest.MonkeyPatch) -> None:
    [made] = client.batch([create(patient("1"))], 100)
    for gender in ("male", "female", "other"):
        request = {"method": "PUT", "url": f"Patient/{made.id}"}
        client.batch([{"resource": {**patient("1"), "id": made.id, "gender": gender}, "request": request}], 100)
    monkeypatch.setattr("medferry.medplum.client._HISTORY_PAGE", 2)
    versions = [entry["resource"] for entry in client.history("Patient", made.id)]
    assert [version.get("gender") for version in versions] == ["other", "female", "male", None]
    assert {version["meta"]["author"]["reference"] for version in versions} == {client.profile()}
    monkeypatch.setattr("medferry.medplum.client._HISTORY_PAGES", 2)
    with pytest.raises(NoVerdict, match="does not come to an end"):
        client.history("Patient", made.id)


def test_a_write_asks_for_its_departure_again_after_a_refused_token(client: MedplumClient) -> None:
    client._tokens.shared.token = Token("refused", float("inf"))
    asked: list[str] = []
    [outcome] = client.batch(
        [create(patient("departs"))],
        100,
        before=lambda: asked.append("noted"),
        departing=lambda: asked.append("departs"),
    )
    assert outcome.status == 201
    assert asked == ["noted", "departs", "departs"]


def test_what_may_not_depart_is_not_sent(client: MedplumClient) -> None:
    def refuse() -> None:
        raise NotReached("It is too late.", "Nothing.")

    with pytest.raises(NotReached):
        client.batch([create(patient("stays"))], 100, departing=refuse)
    assert client.count("Patient", [("identifier", f"{SYSTEM}|stays")]) == 0
