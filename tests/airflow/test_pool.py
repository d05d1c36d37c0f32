"""The pool that the tasks of Medplum are in: Airflow starts none of them without it, and says so to nobody."""

from __future__ import annotations

import subprocess
import sys

import httpx
import pytest

from medferry_airflow.local import ROOT, USER, LocalAirflow
from medferry_airflow.pool import POOL, SLOTS

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(1_500)]


def test_the_pool_is_there_as_soon_as_airflow_is(airflow: LocalAirflow) -> None:
    assert airflow.api is not None
    assert airflow.api.request("GET", f"pools/{POOL}")["slots"] == SLOTS


def test_a_pool_that_was_taken_away_is_told_where_a_run_is_looked_at_and_made_again(airflow: LocalAirflow) -> None:
    assert airflow.api is not None
    airflow.api.request("DELETE", f"pools/{POOL}")
    try:
        told = page(airflow)
        assert told.status_code == 503
        assert f"Airflow has no pool {POOL}" in told.text and f"airflow pools set {POOL} {SLOTS}" in told.text
    finally:
        start_again(airflow)
    assert "no pool" not in page(airflow).text


def test_the_slots_that_somebody_has_set_stay(airflow: LocalAirflow) -> None:
    assert airflow.api is not None
    try:
        set_slots(airflow, 7)
        start_again(airflow)
        assert airflow.api.request("GET", f"pools/{POOL}")["slots"] == 7
    finally:
        set_slots(airflow, SLOTS)


def set_slots(airflow: LocalAirflow, slots: int) -> None:
    assert airflow.api is not None
    airflow.api.request("PATCH", f"pools/{POOL}", {"pool": POOL, "slots": slots, "include_deferred": False})


def page(airflow: LocalAirflow) -> httpx.Response:
    """What the tab says beside a DAG run that has not begun."""
    with httpx.Client(base_url=airflow.url, timeout=180) as client:
        login = client.post("/auth/token", json={"username": USER, "password": airflow.password}).json()
        token = {"Authorization": f"Bearer {login['access_token']}"}
        return client.get("/medferry/dags/big_bang/runs/not-begun", headers=token)


def start_again(airflow: LocalAirflow) -> None:
    """What Airflow calls when a scheduler begins, in a process that has its plugins and its database."""
    begin = "from airflow.jobs.job import Job; Job()"
    subprocess.run([sys.executable, "-c", begin], env=airflow.environment, cwd=ROOT, check=True)
