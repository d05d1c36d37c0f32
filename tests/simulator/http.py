"""Requests to the simulated Medplum, and what can befall each on its way there and back."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import httpx
import orjson

from tests.simulator.acts import Watch
from tests.simulator.clock import clock
from tests.simulator.medplum import CLIENT, PROJECT, Medplum, Resource

_OUTCOME: Resource = {"resourceType": "OperationOutcome"}
_BUSY = _OUTCOME | {
    "id": "too-many-requests",
    "issue": [{"severity": "error", "code": "throttled", "diagnostics": '{"_msBeforeNext":2000}'}],
}
_FAILED = _OUTCOME | {"issue": [{"severity": "error", "code": "exception", "details": {"text": "Internal"}}]}
_CONFLICT = _OUTCOME | {"issue": [{"severity": "error", "code": "conflict", "details": {"text": "Conflict"}}]}


class Fault(StrEnum):
    """What befalls a request."""

    UNREACHED = "unreached"
    """No connection."""
    CUT = "cut"
    """The connection breaks before the request is there."""
    LOST = "lost"
    """It is done, and the answer does not arrive."""
    LATE = "late"
    """Nobody waits any longer, and it is done later."""
    TWICE = "twice"
    """Something in between repeats it, unless it would create without a condition."""
    FAILED = "failed"
    """500 by Medplum itself."""
    GATEWAY = "gateway"
    """502 by something in between, which has passed it on."""
    THROTTLED = "throttled"
    REVOKED = "revoked"
    """The token is no longer good."""
    PHANTOM = "phantom"
    """A 200 that stored nothing."""
    CONFLICT = "conflict"
    """One entry of it gets a 409."""


@dataclass
class Wire(httpx.BaseTransport):
    """The way to Medplum. `fault` says what befalls a request ("writes", "reads" or "token"), and `later` for how long.

    `arrivals` are requests under way: (when, bundle, extended).
    """

    medplum: Medplum
    watch: Watch
    fault: Callable[[str], Fault | None] = lambda _: None
    later: Callable[[], float] = lambda: 10.0
    arrivals: list[tuple[float, Resource, bool]] = field(default_factory=list)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        path, body = request.url.path, _body(request)
        kind = _kind(request.method, path, body)
        self.watch.acts.before(kind)
        self.deliver()
        if kind == "token":
            return self._token()
        extended = request.headers.get("X-Medplum") == "extended"
        fault = self.fault(kind)
        if fault is None:
            return self._answer(path, request, body, extended)
        return self._befallen(fault, path, request, body, extended)

    def deliver(self) -> None:
        """Let what is due arrive, each at its own time. To be called before anybody else does or sees something."""
        now = clock.true
        due = sorted((one for one in self.arrivals if one[0] <= now), key=lambda one: one[0])
        self.arrivals = [one for one in self.arrivals if one[0] > now]
        for clock.true, bundle, extended in due:
            self.medplum.batch(bundle, CLIENT, extended)
        clock.true = max(now, clock.true)

    def _token(self) -> httpx.Response:
        told = {"access_token": "t", "expires_in": 3600, "profile": {"reference": CLIENT}}
        return _json(200, {**told, "project": {"reference": PROJECT}})

    def _answer(self, path: str, request: httpx.Request, body: Resource, extended: bool) -> httpx.Response:
        if request.method == "POST" and "entry" in body:
            return _json(200, self.medplum.batch(body, CLIENT, extended))
        if request.method == "POST":
            create = {"method": "POST", "url": body["resourceType"], "ifNoneExist": request.headers["If-None-Exist"]}
            [entry] = self.medplum.batch({"entry": [{"request": create, "resource": body}]}, CLIENT)["entry"]
            return _json(int(entry["response"]["status"]), entry["resource"])
        kind, *places = path.removeprefix("/fhir/R4/").split("/")
        if not places:
            search = {"method": "GET", "url": f"{kind}?{request.url.query.decode()}"}
            return _json(200, self.medplum.batch({"entry": [{"request": search}]}, CLIENT)["entry"][0]["resource"])
        id_, *rest = places
        if rest == ["_history"]:
            given = request.url.params
            found = self.medplum.history(kind, id_, int(given.get("_offset", 0)), int(given.get("_count", 20)))
            return _json(404, _OUTCOME) if found is None else _json(200, found)
        [entry] = self.medplum.batch({"entry": [{"request": {"method": "GET", "url": f"{kind}/{id_}"}}]}, CLIENT)[
            "entry"
        ]
        status = int(entry["response"]["status"])
        return _json(status, entry["resource"] if status == 200 else entry["response"]["outcome"])

    def _befallen(
        self, fault: Fault, path: str, request: httpx.Request, body: Resource, extended: bool
    ) -> httpx.Response:
        writes = request.method == "POST" and _writes(body)
        match fault:
            case Fault.UNREACHED:
                raise httpx.ConnectError("unreached", request=request)
            case Fault.CUT:
                raise httpx.ReadError("cut", request=request)
            case Fault.LATE if writes:
                self.arrivals.append((clock.true + self.later(), body, extended))
                raise httpx.ReadTimeout("late", request=request)
            case Fault.LOST | Fault.LATE:
                self._answer(path, request, body, extended)
                raise httpx.ReadError("lost", request=request)
            case Fault.FAILED:
                return _json(500, _FAILED)
            case Fault.GATEWAY:
                self._answer(path, request, body, extended)
                return httpx.Response(502, text="Bad gateway")
            case Fault.THROTTLED:
                return _json(429, _BUSY)
            case Fault.REVOKED:
                return _json(401, _OUTCOME)
            case Fault.PHANTOM if writes and (copy := self.medplum.copied()):
                return _json(200, copy.batch(body, CLIENT, extended))
            case Fault.CONFLICT if writes:
                others = {**body, "entry": body["entry"][1:]}
                answered = self.medplum.batch(others, CLIENT, extended)["entry"] if others["entry"] else []
                refused = {"response": {"status": "409", "outcome": _CONFLICT}}
                return _json(200, {"resourceType": "Bundle", "type": "batch-response", "entry": [refused, *answered]})
            case Fault.TWICE if not _creates(body):
                self._answer(path, request, body, extended)
        return self._answer(path, request, body, extended)


def _json(status: int, body: Any) -> httpx.Response:
    return httpx.Response(status, content=orjson.dumps(body), headers={"Content-Type": "application/fhir+json"})


def _body(request: httpx.Request) -> Resource:
    content = request.read()
    if request.headers.get("Content-Encoding") == "gzip":
        content = gzip.decompress(content)
    return orjson.loads(content) if content[:1] == b"{" else {}


def _kind(method: str, path: str, body: Resource) -> str:
    if path.endswith("token"):
        return "token"
    return "writes" if method == "POST" and _writes(body) else "reads"


def _writes(body: Resource) -> bool:
    return any(entry["request"]["method"] != "GET" for entry in body.get("entry", []))


def _creates(body: Resource) -> bool:
    requests = [entry["request"] for entry in body.get("entry", [])]
    return any(one["method"] == "POST" and "ifNoneExist" not in one for one in requests)
