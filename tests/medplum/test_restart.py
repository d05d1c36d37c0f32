"""A server that is being restarted is waited for by who reads; a wrong address, or a failing one, is told soon."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import tenacity

from embedded_medplum.server import EmbeddedMedplum
from medferry.medplum import requests
from medferry.medplum.client import MedplumClient
from medferry.medplum.errors import MedplumUnavailable, RequestFailed
from tests.medplum.test_budget import Clock

REFUSED = httpx.ConnectError("refused")
CUT = httpx.RemoteProtocolError("cut")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Of the retries alone."""
    clock = Clock()
    monkeypatch.setattr(requests, "time", SimpleNamespace(monotonic=lambda: 1_000 + clock.now))
    waits: Any = lambda **options: tenacity.Retrying(**{**options, "sleep": clock.sleep})  # noqa: E731
    monkeypatch.setattr(requests, "Retrying", waits)
    return clock


@pytest.fixture
def client(medplum: EmbeddedMedplum) -> MedplumClient:
    return MedplumClient(medplum.base_url, medplum.client_id, medplum.client_secret)


def away(client: MedplumClient, clock: Clock, seconds: float, how: Exception | httpx.Response) -> None:
    """From now on nothing but `how` comes back, for so long."""
    stream, until = client._http.stream, clock.now + seconds

    @contextmanager
    def answered(method: str, path: str, **options: Any) -> Iterator[httpx.Response]:
        if clock.now < until and isinstance(how, Exception):
            raise how
        if clock.now < until:
            how.request = httpx.Request(method, "http://medplum/")  # type: ignore[union-attr]
            yield how  # type: ignore[misc]
            return
        with stream(method, path, **options) as answer:
            yield answer

    client._http.stream = answered  # type: ignore[method-assign, assignment]


@pytest.mark.parametrize("how", [REFUSED, CUT, httpx.Response(502), httpx.Response(503)])
def test_a_read_outlives_a_restart(client: MedplumClient, clock: Clock, how: Exception | httpx.Response) -> None:
    assert client.count("Patient") == 0
    away(client, clock, 45.0, how)
    assert client.count("Patient") == 0
    assert clock.now >= 45.0


def test_a_server_that_stays_away_is_told_and_costs_its_time_once(client: MedplumClient, clock: Clock) -> None:
    assert client.count("Patient") == 0
    away(client, clock, 10_000.0, REFUSED)
    for _ in range(20):
        with pytest.raises(MedplumUnavailable):
            client.count("Patient")
    assert 60.0 <= clock.now < 60.0 + 20 * 6 * 10


def test_who_was_never_reached_is_told_soon(client: MedplumClient, clock: Clock) -> None:
    away(client, clock, 10_000.0, REFUSED)
    with pytest.raises(MedplumUnavailable):
        client.count("Patient")
    assert len(clock.slept) == 5


def test_what_the_server_itself_says_it_failed_with_is_no_restart(client: MedplumClient, clock: Clock) -> None:
    assert client.count("Patient") == 0
    away(client, clock, 10_000.0, httpx.Response(500, json={"resourceType": "OperationOutcome"}))
    with pytest.raises(RequestFailed):
        client.count("Patient")
    assert len(clock.slept) == 5


def test_what_reached_nobody_is_no_failed_request(client: MedplumClient, clock: Clock) -> None:
    assert client.count("Patient") == 0
    sent = client.sent
    away(client, clock, 30.0, REFUSED)
    assert client.count("Patient") == 0
    assert (client.sent - sent, client.failed) == (1, 0)
