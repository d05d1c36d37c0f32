"""What Medferry answers in the real API server: for those who may sign in, and nobody else."""

from __future__ import annotations

import httpx
import pytest

from medferry.cutover.routing import ALL_OTHER, Route, Routing, Writes
from medferry.cutover.routing_file import publish
from medferry.fhir.sides import Side
from medferry_airflow.local import USER, LocalAirflow
from tests.airflow.conftest import Platform

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(200)]


def test_only_who_may_sign_in_is_told(airflow: LocalAirflow, platform: Platform) -> None:
    route = Route(unit="north", domain=ALL_OTHER, reads=Side.MEDPLUM, writes=Writes.MEDPLUM, epoch=1)
    path = platform.folder / "routing.json"
    publish(path, lambda: Routing.of("tiny", [route]))
    try:
        with httpx.Client(base_url=airflow.url, timeout=60) as client:
            assert client.get("/medferry/routing").status_code == 401
            assert client.get("/medferry/routing", headers={"Authorization": "Bearer x.y.z"}).status_code in (401, 403)
            login = client.post("/auth/token", json={"username": USER, "password": airflow.password})
            token = {"Authorization": f"Bearer {login.json()['access_token']}"}
            found = client.get("/medferry/routing", headers=token)
            assert found.json()["routes"] == [route.model_dump(mode="json")]
            known = {**token, "If-None-Match": found.headers["ETag"]}
            assert client.get("/medferry/routing", headers=known).status_code == 304
            for other in ("docs", "openapi.json", "redoc"):
                assert client.get(f"/medferry/{other}").status_code in (401, 404)
    finally:
        path.unlink()


def test_the_pages_of_the_runs_are_for_who_may_sign_in(airflow: LocalAirflow) -> None:
    pages = ("runs", "runs/r", "report/r", "dags/wave_rest/runs/r", "dags/wave_rest/report/r")
    with httpx.Client(base_url=airflow.url, timeout=60) as client:
        for page in pages:
            assert client.get(f"/medferry/{page}").status_code == 401
            bogus = client.get(f"/medferry/{page}", headers={"Authorization": "Bearer x.y.z"})
            assert bogus.status_code in (401, 403)
        login = client.post("/auth/token", json={"username": USER, "password": airflow.password})
        token = {"Authorization": f"Bearer {login.json()['access_token']}"}
        told = [client.get(f"/medferry/{page}", headers=token) for page in pages[1:]]
        assert {answer.status_code for answer in told} <= {404, 503}  # 503: no run has made a manifest yet
        assert all("<h1>" in answer.text for answer in told)
