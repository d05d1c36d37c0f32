"""A wave on two Celery workers that share no disk, one of which is killed in the middle of a load.

Minutes, most of them Airflow's own: a part of `make faults`, or with MEDFERRY_CELERY=yes.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from medferry.medplum.client import MedplumClient
from medferry_airflow.local import USER
from tests.airflow.celery_platform import CeleryPlatform, celery_platform
from tests.airflow.conftest import MEMORY, PATIENCE
from tests.tiny_platform import RESOURCES

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.timeout(1_800),
    pytest.mark.skipif("MEDFERRY_CELERY" not in os.environ, reason="A part of make faults."),
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="There is no redis-server here (make system)."),
]

LOAD = ("load_level_2.load", 0)
TYPES = ("Organization", "Practitioner", "PractitionerRole", "Patient", "Observation")
PATIENTS = (b"Lindqvist", b"Okafor", b"F" * 50, b"1985-02-30")
"""Words that stand in the legacy database's rows and nowhere else."""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="medferry-celery-", dir=MEMORY if MEMORY.is_dir() else None) as found:
        yield Path(found)


@pytest.fixture(scope="module")
def celery(folder: Path) -> Iterator[CeleryPlatform]:
    with celery_platform(folder) as platform:
        yield platform


@pytest.fixture(scope="module")
def survived(celery: CeleryPlatform) -> str:
    """A DAG run that lost a worker in the middle of a load, at its end."""
    airflow, api = celery.airflow, celery.airflow.api
    assert api is not None
    celery.medplum.inject({"kind": "delay", "ms": 1_000, "every": 1, "entries": "writes"})
    run_id = airflow.trigger("wave_pilot", {"batch_size": 2, "lanes": 1})
    with celery.client() as client:
        api.until(lambda: bool(_resources(client, "Observation")), 2 * PATIENCE, "no load was under way")
        victim = celery.hosts("wave_pilot", run_id)[LOAD]
        celery.workers[victim].kill()
        assert len(_resources(client, "Observation")) < 30, "it was not killed in the middle"
    celery.medplum.inject()
    assert airflow.wait("wave_pilot", run_id, 2 * PATIENCE) == "success"
    return run_id


def test_the_other_worker_takes_over_what_a_killed_one_had(celery: CeleryPlatform, survived: str) -> None:
    (dead,) = (name for name, worker in celery.workers.items() if not worker.alive)
    hosts = celery.hosts("wave_pilot", survived)
    assert set(hosts.values()) == {"first", "second"}, "both had a part in the wave"
    assert hosts[LOAD] != dead
    assert celery.tries("wave_pilot", survived, *LOAD) == [dead, hosts[LOAD]]


def test_nothing_is_doubled_and_nothing_is_lost(celery: CeleryPlatform, survived: str) -> None:
    medplum = celery.medplum
    with MedplumClient(medplum.base_url, medplum.client_id, medplum.client_secret) as client:
        found = [
            entry["resource"]
            for type_ in TYPES
            for entry in client.search(type_, [("_count", "1000")]).get("entry", [])
        ]
    names = [(one["system"], one["value"]) for resource in found for one in resource["identifier"]]
    assert len(found) == RESOURCES and len(names) == len(set(names))


def test_the_report_opens_where_no_worker_has_written_it(celery: CeleryPlatform, survived: str) -> None:
    airflow = celery.airflow
    with httpx.Client(base_url=airflow.url, timeout=PATIENCE) as client:
        login = client.post("/auth/token", json={"username": USER, "password": airflow.password})
        token = {"Authorization": f"Bearer {login.json()['access_token']}"}
        page = client.get(f"/medferry/dags/wave_pilot/report/{survived}", headers=token)
    assert page.status_code == 200 and "PROVEN" in page.text.upper()
    written = celery.s3.filesystem.find(f"{celery.bucket}/reports")
    assert sorted(path.rpartition("/")[2] for path in written) == ["reconciliation.html", "reconciliation.json"]
    report = json.loads(celery.s3.filesystem.cat_file(next(path for path in written if path.endswith(".json"))))
    assert report["verdict"] == "proven"
    assert sum(row["successful"] for row in report["rows"]) == 4 + 2 + 2 + 1 + 20 + 10


def test_a_store_that_fails_for_a_while_is_tried_again(celery: CeleryPlatform, survived: str) -> None:
    """By the one worker that is left."""
    airflow, api = celery.airflow, celery.airflow.api
    assert api is not None
    celery.s3.status = 503
    run_id = airflow.trigger("wave_rest", {"dry_run": True})
    try:
        api.until(
            lambda: airflow.task_states("wave_rest", run_id).get(("prepare", -1)) == "up_for_retry",
            PATIENCE,
            "the first task was not tried again",
        )
    finally:
        celery.s3.status = 0
    assert airflow.wait("wave_rest", run_id, 2 * PATIENCE) == "success"
    assert any("StoreUnavailable" in line and "HTTP 503" in line for line in celery.log_lines("wave_rest", run_id))


def test_no_secret_and_no_patient_is_left_behind(celery: CeleryPlatform, folder: Path, survived: str) -> None:
    secret = celery.s3.secret.encode()
    stored = [celery.s3.filesystem.cat_file(path) for path in celery.s3.filesystem.find(celery.bucket)]
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert any(path.suffix == ".log" for path in files) and stored
    for content in (*stored, *(path.read_bytes() for path in files)):
        assert secret not in content
        assert not any(word in content for word in PATIENTS)


def _resources(client: MedplumClient, *kinds: str) -> list[dict[str, Any]]:
    pages = [client.search(kind, [("_count", "1000")]) for kind in kinds]
    return [entry["resource"] for page in pages for entry in page.get("entry", [])]
