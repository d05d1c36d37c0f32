"""The simulated Medplum answers as the embedded one does, in all that the program relies on."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from embedded_medplum.server import EmbeddedMedplum
from medferry.medplum import requests
from medferry.medplum.client import MedplumClient
from medferry.medplum.errors import NotFound
from tests.simulator.acts import Watch
from tests.simulator.http import Wire
from tests.simulator.medplum import Medplum

Resource = dict[str, Any]
SYSTEM = "https://contract.example/patient"


def instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedMedplum]:
    with EmbeddedMedplum(quota=10**9, token_limit=10**9) as server:
        yield server


@pytest.fixture(params=["embedded", "simulated"])
def client(
    request: pytest.FixtureRequest, embedded: EmbeddedMedplum, monkeypatch: pytest.MonkeyPatch
) -> Iterator[MedplumClient]:
    """The program's own client, of either."""
    if request.param == "simulated":
        wire = Wire(Medplum(time.time, instant), Watch())
        monkeypatch.setattr(requests, "open_http", lambda url, _: httpx.Client(base_url=url, transport=wire))
    with MedplumClient(embedded.base_url, embedded.client_id, embedded.client_secret) as opened:
        yield opened


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    return re.sub(r"\W", "-", str(request.node.name))


def patient(key: str, **members: Any) -> Resource:
    return {"resourceType": "Patient", "identifier": [{"system": SYSTEM, "value": key}], **members}


def entry(method: str, url: str, resource: Resource | None = None, **conditions: str) -> Resource:
    body = {} if resource is None else {"resource": resource}
    return {**body, "request": {"method": method, "url": url, **conditions}}


def outcome(client: MedplumClient, *given: Any, **conditions: str) -> tuple[int, str, str]:
    [found] = client.batch([entry(*given, **conditions)], 0)
    return found.status, found.id, found.version


def made(client: MedplumClient, key: str, **members: Any) -> tuple[str, str]:
    status, id_, version = outcome(client, "POST", "Patient", patient(key, **members))
    assert status == 201
    return id_, version


def test_a_conditional_create_finds_what_is_there(client: MedplumClient, key: str) -> None:
    condition = f"identifier={SYSTEM}|{key}"
    first = outcome(client, "POST", "Patient", patient(key), ifNoneExist=condition)
    assert first[0] == 201
    assert outcome(client, "POST", "Patient", patient(key), ifNoneExist=condition) == (200, *first[1:])
    assert made(client, key)[0] != first[1]
    assert len(client.by_name("Patient", SYSTEM, [key])) == 2


def test_an_update_keeps_its_condition(client: MedplumClient, key: str) -> None:
    id_, version = made(client, key)
    changed = patient(key, id=id_, gender="male")
    status, _, second = outcome(client, "PUT", f"Patient/{id_}", changed, ifMatch=f'W/"{version}"')
    assert status == 200 and second != version
    assert outcome(client, "PUT", f"Patient/{id_}", changed, ifMatch=f'W/"{version}"')[0] == 412
    assert outcome(client, "PUT", f"Patient/{id_}", changed, ifMatch=f'W/"{second}"') == (200, id_, second)
    missing = id_[:-1] + ("0" if id_[-1] != "0" else "1")
    assert outcome(client, "PUT", f"Patient/{missing}", {**changed, "id": missing})[0] == 404


def test_a_tag_alone_makes_a_version(client: MedplumClient, key: str) -> None:
    id_, version = made(client, key)
    for meta in ({"tag": [{"system": SYSTEM, "code": "c"}]}, {"source": "https://contract.example"}):
        status, _, following = outcome(client, "PUT", f"Patient/{id_}", patient(key, id=id_, meta=meta))
        assert (status, following == version) == (200, False)
        version = following


def test_what_was_deleted_is_gone_until_somebody_restores_it(client: MedplumClient, key: str) -> None:
    id_, version = made(client, key)
    assert outcome(client, "DELETE", f"Patient/{id_}")[0] == 200
    assert outcome(client, "DELETE", f"Patient/{id_}")[0] == 200
    gone: set[str] = set()
    assert client.read_each([("Patient", id_)], gone) == {} and gone == {id_}
    assert client.by_name("Patient", SYSTEM, [key]) == [] and client.versions("Patient", [id_]) == {}
    assert not client.is_there("Patient", id_)
    assert outcome(client, "PUT", f"Patient/{id_}", patient(key, id=id_), ifMatch=f'W/"{version}"')[0] == 412
    old = client.read_each([("Patient", f"{id_}/_history/{version}")])
    assert [found for found, _ in old.values()] == [version]
    status, _, restored = outcome(client, "PUT", f"Patient/{id_}", patient(key, id=id_))
    assert status == 200 and client.versions("Patient", [id_]) == {id_: restored}
    assert ["resource" in one for one in client.history("Patient", id_)] == [True, False, True]


def test_what_never_was_is_not_found(client: MedplumClient) -> None:
    nobody = "00000000-0000-4000-8000-000000000000"
    gone: set[str] = set()
    assert client.read_each([("Patient", nobody), ("Patient", f"{nobody}/_history/{nobody}")], gone) == {}
    assert gone == set() and not client.is_there("Patient", nobody)
    with pytest.raises(NotFound):
        client.history("Patient", nobody)


def test_searches_show_what_they_are_asked_for(client: MedplumClient, key: str) -> None:
    id_, version = made(client, key, gender="male")
    [found] = client.by_name("Patient", SYSTEM, [key, "another"])
    assert (found["id"], found["meta"]["versionId"], "gender" in found) == (id_, version, False)
    assert found["meta"]["author"]["reference"] == client.profile() and found["meta"]["project"] == client.project()
    assert client.any_of_system("Patient", SYSTEM) and not client.any_of_system("Patient", f"{SYSTEM}/other")
    whole = client.by_id("Patient", [id_])[id_]
    assert set(whole) == {"resourceType", "id", "meta", "identifier", "gender"}
    assert set(whole["meta"]) == {"versionId", "lastUpdated"}
    assert client.texts_by_id("Patient", [id_])[id_][0] == version
    assert client.count("Patient", [("identifier", f"{SYSTEM}|{key}")]) == 1


def test_changes_are_found_by_their_time_in_their_order(client: MedplumClient, key: str) -> None:
    ids = [made(client, f"{key}-{number}")[0] for number in range(4)]
    outcome(client, "PUT", f"Patient/{ids[0]}", patient(f"{key}-0", id=ids[0], gender="male"))
    since = client.by_id("Patient", [ids[1]])[ids[1]]["meta"]["lastUpdated"]
    form = [("_lastUpdated", f"ge{since}"), ("_sort", "_lastUpdated"), ("_count", "1000")]
    found = [one["resource"]["id"] for one in client.search("Patient", form).get("entry", [])]
    assert found[-1] == ids[0] and [one for one in found if one in ids[1:]] == ids[1:]
    newest = client.search("Patient", [("_sort", "-_lastUpdated"), ("_count", "1"), ("_fields", "id,meta")])
    assert newest["entry"][0]["resource"]["id"] == ids[0]
    assert client.search("Patient", [("_lastUpdated", "ge2100-01-01T00:00:00.000Z")]).get("entry", []) == []


def test_a_history_names_its_authors(client: MedplumClient, key: str) -> None:
    id_, version = made(client, key)
    outcome(client, "PUT", f"Patient/{id_}", patient(key, id=id_, gender="male"))
    entries = client.history("Patient", id_)
    assert [one["resource"]["meta"]["author"]["reference"] for one in entries] == [client.profile()] * 2
    assert entries[-1]["resource"]["meta"]["versionId"] == version


def test_each_entry_of_a_batch_is_answered_by_itself(client: MedplumClient, key: str) -> None:
    id_, version = made(client, key)
    lost = entry("PUT", f"Patient/{id_}", patient(key, id=id_, gender="male"), ifMatch='W/"another"')
    outcomes = client.batch([lost, entry("POST", "Patient", patient(f"{key}-2"))], 0)
    assert [one.status for one in outcomes] == [412, 201]
    assert client.versions("Patient", [id_]) == {id_: version}


def test_a_medplum_that_forgets_conditions_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The contract is able to fail."""
    real = Medplum._update

    def forgets(self: Medplum, kind: str, id_: str, body: Resource, _: str, author: str) -> Resource:
        return real(self, kind, id_, body, "", author)

    monkeypatch.setattr(Medplum, "_update", forgets)
    wire = Wire(Medplum(time.time, instant), Watch())
    monkeypatch.setattr(requests, "open_http", lambda url, _: httpx.Client(base_url=url, transport=wire))
    with MedplumClient("http://127.0.0.1:1/", "a", "b") as opened, pytest.raises(AssertionError):
        test_an_update_keeps_its_condition(opened, "key")
