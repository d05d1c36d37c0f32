"""A Medplum server under test, embedded or live, with what every contract test needs: keys, tags, and cleaning up."""

import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from embedded_medplum import EmbeddedMedplum
from tests.contract.changes import Change, Version, shown, version_of

Json = dict[str, Any]
TAG_SYSTEM = "urn:medferry:contract-test"
BATCH = 100


def token(base_url: str, client_id: str, client_secret: str) -> str:
    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": client_secret}
    answer = httpx.post(f"{base_url}oauth2/token", data=form, timeout=60)
    answer.raise_for_status()
    return str(answer.json()["access_token"])


@dataclass
class Target:
    """A client of one server. Everything made through it carries `tag`, and `clean()` removes it."""

    name: str
    version: Version
    base_url: str
    client_id: str
    client_secret: str
    http: httpx.Client
    tag: str = field(default_factory=lambda: str(uuid.uuid4()))
    types: set[str] = field(default_factory=lambda: {"Patient"})

    @property
    def live(self) -> bool:
        return self.name == "live"

    def has(self, change: Change) -> bool:
        """Whether this server behaves as after a change; the test is skipped for a version of which nobody knows."""
        applies = change.applies(self.version)
        if applies is None:
            pytest.skip(f"not known of {shown(self.version)}: {change.request}")
        return applies

    @property
    def system(self) -> str:
        """The identifier system of this test's resources."""
        return f"urn:medferry:contract:{self.tag}"

    def meta(self) -> Json:
        return {"tag": [{"system": TAG_SYSTEM, "code": self.tag}], "source": f"urn:medferry:{self.tag}"}

    def patient(self, value: str | None = None, **elements: Any) -> Json:
        identifier = [{"system": self.system, "value": value or str(uuid.uuid4())}]
        base = {"resourceType": "Patient", "meta": self.meta(), "identifier": identifier}
        return base | {"name": [{"family": "Contract", "given": ["Test"]}]} | elements

    def observation(self, subject: Json, value: str | None = None, **elements: Any) -> Json:
        self.types.add("Observation")
        base = {
            "resourceType": "Observation",
            "meta": self.meta(),
            "identifier": [{"system": self.system, "value": value or str(uuid.uuid4())}],
            "status": "final",
            "code": {"text": "contract"},
            "subject": subject,
        }
        return base | elements

    def key(self, resource: Json) -> str:
        """`system|value` of the first identifier."""
        identifier = resource["identifier"][0]
        return f"{identifier['system']}|{identifier['value']}"

    def request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """One request below the FHIR base; a live server's quota is waited for."""
        while True:
            answer = self.http.request(method, f"{self.base_url}fhir/R4/{path}", **arguments)
            if not (self.live and answer.status_code == 429):
                return answer
            time.sleep(wait_seconds(answer.json()))

    def get(self, path: str, **arguments: Any) -> httpx.Response:
        return self.request("GET", path, **arguments)

    def post(self, path: str, **arguments: Any) -> httpx.Response:
        return self.request("POST", path, **arguments)

    def put(self, path: str, **arguments: Any) -> httpx.Response:
        return self.request("PUT", path, **arguments)

    def delete(self, path: str) -> httpx.Response:
        return self.request("DELETE", path)

    def create(self, resource: Json) -> Json:
        answer = self.post(resource["resourceType"], json=resource)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def search(self, resource_type: str, **params: str) -> Json:
        answer = self.get(resource_type, params=params)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def found(self, key: str, resource_type: str = "Patient") -> list[Json]:
        """The resources that have an identifier."""
        bundle = self.search(resource_type, identifier=key)
        return [entry["resource"] for entry in bundle.get("entry", [])]

    def bundle(self, entries: list[Json], kind: str = "batch") -> httpx.Response:
        return self.post("", json={"resourceType": "Bundle", "type": kind, "entry": entries})

    def batch(self, *entries: Json) -> list[Json]:
        answer = self.bundle(list(entries))
        assert answer.status_code == 200, answer.text
        assert answer.json()["type"] == "batch-response"
        return list(answer.json()["entry"])

    def fill(self, resources: list[Json]) -> None:
        """Creates many, and waits for a live server's quota when it is used up."""
        waiting = [create(resource) for resource in resources]
        while waiting:
            sent, waiting = waiting[:BATCH], waiting[BATCH:]
            results = self.batch(*sent)
            throttled = [entry for entry, result in zip(sent, results, strict=True) if status(result) == 429]
            assert {status(result) for result in results} <= {201, 429}
            if throttled:
                time.sleep(wait_seconds(next(r["response"]["outcome"] for r in results if status(r) == 429)))
                waiting = throttled + waiting

    def clean(self) -> None:
        """Deletes all that carries the tag."""
        for resource_type in sorted(self.types):
            while ids := list(self._tagged(resource_type)):
                results = self.batch(*({"request": {"method": "DELETE", "url": f"{resource_type}/{i}"}} for i in ids))
                if any(status(result) == 429 for result in results):
                    time.sleep(wait_seconds(next(r["response"]["outcome"] for r in results if status(r) == 429)))

    def _tagged(self, resource_type: str) -> Iterator[str]:
        bundle = self.search(resource_type, _tag=f"{TAG_SYSTEM}|{self.tag}", _count=str(BATCH), _fields="id")
        return (entry["resource"]["id"] for entry in bundle.get("entry", []))


def connect(name: str, base_url: str, client_id: str, client_secret: str) -> Target:
    headers = {"Authorization": f"Bearer {token(base_url, client_id, client_secret)}"}
    http = httpx.Client(headers=headers, timeout=120)
    version = version_of(http.get(f"{base_url}fhir/R4/metadata").json())
    return Target(name, version, base_url, client_id, client_secret, http)


def connect_embedded(server: EmbeddedMedplum) -> Target:
    return connect("embedded", server.base_url, server.client_id, server.client_secret)


def wait_seconds(outcome: Json) -> float:
    """The time a 429 outcome asks to wait."""
    return float(json.loads(outcome["issue"][0]["diagnostics"])["_msBeforeNext"]) / 1000 + 0.1


def create(resource: Json, full_url: str | None = None, **request: str) -> Json:
    entry = {"request": {"method": "POST", "url": resource["resourceType"], **request}, "resource": resource}
    return entry | ({"fullUrl": full_url} if full_url else {})


def update(url: str, resource: Json, **request: str) -> Json:
    return {"request": {"method": "PUT", "url": url, **request}, "resource": resource}


def status(entry: Json) -> int:
    return int(entry["response"]["status"])


def text(outcome: Json) -> str:
    """The text of an OperationOutcome's first issue."""
    issue = outcome["issue"][0]
    return str(issue.get("details", {}).get("text", "")) + str(issue.get("diagnostics", ""))


def entry_text(entry: Json) -> str:
    return text(entry["response"]["outcome"])
