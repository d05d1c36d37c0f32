"""One real Airflow for all tests of this folder, on the tiny platform and an embedded Medplum that is down at first."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa

from demo_clinics import database
from embedded_medplum.server import EmbeddedMedplum, ServerError
from medferry.definition.migration import load_migration
from medferry.manifest.database import open_manifest
from medferry.manifest.runs import RunRow, get_run
from medferry.manifest.tables import lease
from medferry.runtime.environment import Environment
from medferry.runtime.settings import Settings
from medferry_airflow.local import LocalAirflow, free_port, on_postgresql
from medferry_airflow.sessions import family_of
from tests import tiny_platform

MEMORY = Path("/dev/shm")

PATIENCE = 300.0
"""Seconds for anything that takes fifteen on an idle machine: whoever waits for less tests the machine."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First the files that have an Airflow of their own: it ends with them, the folder's with the folder, and one fills
    the machine."""
    here = [number for number, item in enumerate(items) if item.path.parent == Path(__file__).parent]
    of_its_own_first = sorted((items[number] for number in here), key=lambda item: "airflow" not in vars(item.module))  # type: ignore[attr-defined]
    for number, item in zip(here, of_its_own_first, strict=True):
        items[number] = item


@dataclass(frozen=True)
class Platform:
    """What the tests look at: the folder of everything, the Medplum, the manifest."""

    folder: Path
    medplum: EmbeddedMedplum

    @property
    def migration(self) -> Path:
        """The folder of a copy of the tiny migration, which a test may change."""
        return self.folder / "tiny"

    def environment(self) -> Environment:
        """The systems as a process outside Airflow sees them, by the migration's files as they are now."""
        medplum = self.medplum
        settings = Settings(
            source_url=f"sqlite:///{self.folder}/legacy.db",
            medplum_base_url=medplum.base_url,
            medplum_client_id=medplum.client_id,
            medplum_client_secret=medplum.client_secret,
            manifest_url=f"sqlite:///{self.folder}/manifest.db",
            staging_url=f"{self.folder}/staging",
            settle_seconds=1,
        )
        return Environment(load_migration(self.migration), settings)

    @property
    def manifest(self) -> sa.Engine:
        return open_manifest(f"sqlite:///{self.folder}/manifest.db")

    def run(self, run_id: str) -> RunRow:
        with self.manifest.begin() as connection:
            return get_run(connection, run_id)

    def leases(self) -> int:
        with self.manifest.begin() as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(lease)).scalar_one())

    def start_medplum(self) -> None:
        """Start it, unless it runs already."""
        if not self.running:
            self.medplum.start()

    @contextmanager
    def refusing(self, status: int) -> Iterator[None]:
        """Medplum lets itself be read, and answers every batch that writes with `status`."""
        refused = {"kind": "error", "status": status, "method": "POST", "path": "/fhir/R4/?$"}
        self.medplum.inject({**refused, "entries": "writes", "every": 1})
        try:
            yield
        finally:
            self.medplum.inject()  # else one failure would be that of all tests after it

    @property
    def running(self) -> bool:
        try:
            return self.medplum.pid > 0
        except ServerError:
            return False

    def report(self, run_id: str) -> dict[str, object]:
        (found,) = (self.folder / "reports").glob(f"{run_id.replace(':', '_').replace('+', '_')}/reconciliation.json")
        content: dict[str, object] = json.loads(found.read_text(encoding="utf-8"))
        return content


@pytest.fixture(scope="package")
def platform() -> Iterator[Platform]:
    with a_platform() as made:
        yield made


@pytest.fixture(scope="package")
def airflow(platform: Platform) -> Iterator[LocalAirflow]:
    with an_airflow(platform) as running:
        yield running


@contextmanager
def a_platform() -> Iterator[Platform]:
    """A legacy database, and a Medplum that has a port but does not run yet."""
    folder = Path(tempfile.mkdtemp(prefix="medferry-airflow-", dir=MEMORY if MEMORY.is_dir() else None))
    tiny_platform.fill(f"sqlite:///{folder}/legacy.db")
    shutil.copytree(tiny_platform.MIGRATION, folder / "tiny", ignore=shutil.ignore_patterns("__pycache__"))
    medplum = EmbeddedMedplum(port=free_port(), faults=True, log_file=folder / "medplum.log")
    yield Platform(folder, medplum)
    medplum.stop()
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def an_airflow(platform: Platform, **variables: str) -> Iterator[LocalAirflow]:
    """With variables of its own besides."""
    medplum, home = platform.medplum, platform.folder / "airflow"
    connection = {"host": f"http://127.0.0.1:{medplum.port}/", "login": medplum.client_id}
    environment = {
        "MEDFERRY_MIGRATION": str(platform.migration),
        "MEDFERRY_MANIFEST_URL": f"sqlite:///{platform.folder}/manifest.db",
        "MEDFERRY_STAGING_URL": f"{platform.folder}/staging",
        "MEDFERRY_REPORT_FOLDER": f"{platform.folder}/reports",
        "MEDFERRY_SETTLE_SECONDS": "1",
        "MEDFERRY_ROUTING_FILE": f"{platform.folder}/routing.json",
        "AIRFLOW_CONN_LEGACY_TINY": f"sqlite:///{platform.folder}/legacy.db",
        "AIRFLOW_CONN_MEDPLUM_DEFAULT": json.dumps(
            {"conn_type": "medplum", "password": medplum.client_secret, **connection}
        ),
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "1",
    }
    with (
        database.embedded(platform.folder / "airflow-db") as server,
        LocalAirflow(home, environment | on_postgresql(server.url) | variables) as running,
    ):
        components = set(running.pids.values())
        assert len(components) == 4 and {process.pid for process in family_of(components)} >= components
        yield running
    assert not family_of(components), "processes were left running"


def log_of(airflow: LocalAirflow, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> list[str]:
    """The lines of a task's log, as the UI gets them, but for what Airflow says when a task has ended."""
    assert airflow.api is not None
    address = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/1"
    lines = airflow.api.request("GET", address, full_content=True, map_index=map_index)["content"]
    events = [str(line["event"]) for line in lines]
    return [event for event in events if not event.startswith(("::", "Done. Returned value"))]


def backfill(airflow: LocalAirflow, dag_id: str, start: str, end: str, *options: str) -> None:
    """``airflow backfill create``, from one day to another."""
    window = ("--dag-id", dag_id, "--from-date", start, "--to-date", end)
    airflow.cli("backfill", "create", *window, "--reprocess-behavior", "completed", *options)
