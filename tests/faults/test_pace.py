"""Simulated time: long waits are skipped when a whole world waits, and whatever else waits goes on with the clocks."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from embedded_medplum.server import EmbeddedMedplum
from tests.faults.pace import STRIDE, Pace
from tests.faults.simulator import World
from tests.lagging_proxy import LaggingProxy

FACTOR = 100.0


@pytest.fixture
def pace(tmp_path: Path, server: EmbeddedMedplum) -> Pace:
    return Pace(FACTOR, tmp_path, server.base_url)


@pytest.fixture
def other(tmp_path: Path, server: EmbeddedMedplum) -> Pace:
    """A second worker of the same world."""
    return Pace(FACTOR, tmp_path, server.base_url)


def test_who_is_alone_skips_long_waits_only(pace: Pace) -> None:
    pace.sleep(1.0)
    assert pace.now(0.0) == 0.0
    pace.sleep(5.0)
    assert pace.now(0.0) * FACTOR == pytest.approx(STRIDE)
    pace.sleep(600.0)
    assert pace.now(0.0) * FACTOR == pytest.approx(STRIDE + 600.0)


def test_nobody_skips_while_another_is_awake(pace: Pace, other: Pace) -> None:
    pace.sleep(5.0)
    assert pace.now(0.0) == other.now(0.0) == 0.0


def test_when_all_wait_the_clocks_of_all_go_on(pace: Pace, other: Pace) -> None:
    with other._counted(asleep=1):
        pace.sleep(60.0)
    assert pace.now(0.0) == other.now(0.0) == pytest.approx(60.0 / FACTOR)


@pytest.mark.parametrize("whose", ["its own", "another's"])
def test_nobody_skips_while_a_batch_is_on_its_way(whose: str, pace: Pace, other: Pace) -> None:
    with other._counted(asleep=1), (pace if whose == "its own" else other).busy():
        pace.sleep(5.0)
    assert pace.now(0.0) == 0.0


def test_what_stalls_and_what_lags_goes_on_with_the_clocks(tmp_path: Path, world: World) -> None:
    """Neither an hour of the server nor one of the searches is waited for."""
    server = world.server
    http = httpx.Client(base_url=server.base_url, timeout=60)
    form = {"grant_type": "client_credentials", "client_id": server.client_id, "client_secret": server.client_secret}
    http.headers["Authorization"] = f"Bearer {http.post('oauth2/token', data=form).json()['access_token']}"
    patient = {"resourceType": "Patient", "identifier": [{"system": world.base, "value": "1"}]}
    server.inject({"kind": "late", "ms": 3_600_000, "next": 1, "method": "POST", "path": "Patient"})
    with LaggingProxy(server.base_url, lag=3_600.0) as proxy:

        def found() -> int:
            asked = {"identifier": f"{world.base}|1"}
            headers = {"Authorization": http.headers["Authorization"]}
            answer = httpx.post(f"{proxy.base_url}fhir/R4/Patient/_search", data=asked, headers=headers, timeout=60)
            return len(answer.json().get("entry", []))

        assert http.post("fhir/R4/Patient", json=patient).status_code == 504
        assert server.advance() == 1
        pace = Pace(FACTOR, tmp_path, proxy.base_url)
        with pace._counted(asleep=1):
            assert pace._skip(3_600.0)
        while server.advance():
            pass
        assert found() == 0  # it has only just been written
        with pace._counted(asleep=1):
            assert pace._skip(3_600.0)
        assert found() == 1
    http.close()
