"""Medplum's clock is what its newest answer said, and what has gone by since."""

from __future__ import annotations

import httpx
import pytest

from embedded_medplum.server import EmbeddedMedplum
from medferry.manifest.clock import seconds_between
from medferry.medplum.client import MedplumClient
from medferry.medplum.server_clock import ServerClock


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def told(date: str | None) -> httpx.Response:
    return httpx.Response(200, headers={} if date is None else {"Date": date})


def test_it_goes_on_from_the_newest_answer() -> None:
    own = Clock()
    clock = ServerClock(own)
    assert clock.now() == ""
    clock.learn(told("Sat, 28 Nov 2026 12:00:00 GMT"))
    own.now += 90.5
    assert clock.now() == "2026-11-28T12:01:30.500Z"
    clock.learn(told("Sat, 28 Nov 2026 13:00:00 +0100"))  # the server's was set back
    assert clock.now() == "2026-11-28T12:00:00.000Z"


@pytest.mark.parametrize("date", [None, "", "yesterday", "Sat, 99 Nov 2026 12:00:00 GMT"])
def test_an_answer_without_a_date_tells_nothing(date: str | None) -> None:
    clock = ServerClock()
    clock.learn(told(date))
    assert clock.now() == ""


def test_a_client_knows_it_after_any_answer(medplum: EmbeddedMedplum) -> None:
    with MedplumClient(medplum.base_url, medplum.client_id, medplum.client_secret) as client:
        assert client.server_clock.now() == ""
        client.any_of_system("Patient", "urn:s")
        first = client.server_clock.now()
        assert seconds_between(first, client.server_clock.now()) >= 0
