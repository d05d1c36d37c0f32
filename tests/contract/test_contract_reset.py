"""A reset makes the embedded server as good as new, and is not to be had where that would lose data."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from embedded_medplum.server import EmbeddedMedplum, ServerError
from tests.contract.target import Target, connect_embedded


def project(target: Target) -> str:
    return str(target.http.get(f"{target.base_url}auth/me").json()["project"]["id"])


def test_everything_is_forgotten(embedded: Any) -> None:
    server, before = embedded(faults=True, quota=10_000)
    address = before.create(before.patient())["id"]
    server.inject({"kind": "error", "every": 1, "path": "Patient"})
    first = project(before)
    server.reset()
    assert httpx.get(f"{server.base_url}faults").json() == {"rules": []}
    after = connect_embedded(server)
    assert after.get(f"Patient/{address}").status_code == 404
    assert after.get(f"Patient/{address}/_history").status_code == 404
    assert after.search("Patient", _summary="count")["total"] == 0
    assert project(after) != first
    after.http.close()


def test_what_was_spent_is_there_again(embedded: Any) -> None:
    server, target = embedded(faults=True, quota=150, token_limit=2)
    assert [target.post("Patient", json=target.patient()).status_code for _ in range(2)] == [201, 429]
    connect_embedded(server).http.close()
    with pytest.raises(httpx.HTTPStatusError, match="429"):
        connect_embedded(server)
    server.reset()
    after = connect_embedded(server)
    assert after.post("Patient", json=after.patient()).status_code == 201
    after.http.close()


def test_what_was_still_at_work_arrives_where_nobody_sees_it(embedded: Any) -> None:
    server, target = embedded(faults=True)
    server.inject({"kind": "late", "next": 1, "ms": 200, "path": "Patient$"})
    assert target.post("Patient", json=target.patient()).status_code == 504
    server.reset()
    after = connect_embedded(server)
    server.inject({"kind": "delay", "next": 1, "ms": 400})
    assert after.search("Patient", _summary="count")["total"] == 0
    after.http.close()


@pytest.mark.parametrize("faults", [False, True], ids=["no faults", "a data file"])
def test_it_is_refused(embedded: Any, faults: bool, tmp_path: Path) -> None:
    server, target = embedded(faults=faults, data=tmp_path / "x.db" if faults else None)
    target.create(target.patient())
    with pytest.raises(ServerError):
        server.reset()
    assert target.search("Patient", _summary="count")["total"] == 1


def test_a_test_may_stop_it(medplum: EmbeddedMedplum) -> None:
    assert medplum.running
    medplum.stop()
    assert not medplum.running


def test_and_the_next_has_one(medplum: EmbeddedMedplum) -> None:
    target = connect_embedded(medplum)
    assert target.search("Patient", _summary="count")["total"] == 0
    target.http.close()
