"""Two migrations in one Airflow, by a real scheduler: each writes where it belongs, and nowhere else."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from demo_clinics import database
from embedded_medplum.server import EmbeddedMedplum
from medferry.manifest.database import open_manifest
from medferry.manifest.runs import RunStatus, list_runs
from medferry.manifest.tables import target
from medferry.medplum.client import MedplumClient
from medferry.runtime.several import MIGRATION
from medferry_airflow.local import USER, LocalAirflow, on_postgresql
from tests import tiny_platform
from tests.airflow.conftest import MEMORY, PATIENCE

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(1_500)]

NAMES = ("labs", "wards")


@dataclass(frozen=True)
class Side:
    """One migration's own: its files, legacy database and Medplum; the patients of its wave by family name."""

    name: str
    folder: Path
    patients: frozenset[str]
    medplum: EmbeddedMedplum = field(repr=False)

    @classmethod
    def made(cls, name: str, folder: Path, medplum: EmbeddedMedplum) -> Side:
        tiny_platform.copy_as(name, folder / name)
        legacy = f"sqlite:///{folder}/{name}.db"
        tiny_platform.fill(legacy)
        with sa.create_engine(legacy).begin() as connection:
            connection.execute(sa.text(f"UPDATE patient SET family = '{name}-' || family WHERE unit <> 'south'"))
        (folder / "of" / name).mkdir(parents=True)
        loaded = frozenset(f"{name}-{family}" for family in ("Ada", "Ben", "Hal"))
        return cls(name, folder, loaded, medplum)

    def connections(self) -> dict[str, str]:
        """Its plan was copied with the connection of its source, which gets the name's end as all others."""
        login = {"login": self.medplum.client_id, "password": self.medplum.client_secret}
        end = self.name.upper()
        return {
            f"AIRFLOW_CONN_LEGACY_TINY_{end}": f"sqlite:///{self.folder}/{self.name}.db",
            f"AIRFLOW_CONN_MEDPLUM_DEFAULT_{end}": json.dumps(
                {"conn_type": "medplum", "host": self.medplum.base_url, **login}
            ),
        }

    @property
    def manifest(self) -> sa.Engine:
        return open_manifest(f"sqlite:///{self.folder}/of/{self.name}/manifest.db")

    def families(self) -> set[str]:
        """Of the patients in its Medplum."""
        medplum = self.medplum
        with MedplumClient(medplum.base_url, medplum.client_id, medplum.client_secret) as client:
            return {one["name"][0]["family"] for one in client.find("Patient", [])}

    def systems(self) -> set[str]:
        """The bases of the identifiers in its manifest."""
        with self.manifest.begin() as connection:
            found = connection.scalars(sa.select(target.c.system)).all()
        return {system.partition("/legacy")[0] for system in found}


@pytest.fixture(scope="module")
def sides() -> Iterator[list[Side]]:
    folder = Path(tempfile.mkdtemp(prefix="medferry-several-", dir=MEMORY if MEMORY.is_dir() else None))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield [
            Side.made(
                name,
                folder,
                stack.enter_context(
                    EmbeddedMedplum(client_secret=f"secret-of-{name}", log_file=folder / f"medplum-{name}.log")
                ),
            )
            for name in NAMES
        ]


@pytest.fixture(scope="module")
def airflow(sides: list[Side]) -> Iterator[LocalAirflow]:
    folder = sides[0].folder
    environment = {
        "MEDFERRY_MIGRATION": ",".join(f"{folder}/{side.name}" for side in sides),
        "MEDFERRY_MANIFEST_URL": f"sqlite:///{folder}/of/{MIGRATION}/manifest.db",
        "MEDFERRY_STAGING_URL": f"{folder}/of/{MIGRATION}/staging",
        "MEDFERRY_REPORT_FOLDER": f"{folder}/of/{MIGRATION}/reports",
    }
    for side in sides:
        environment |= side.connections()
    with (
        database.embedded(folder / "airflow-db") as server,
        LocalAirflow(folder / "airflow", environment | on_postgresql(server.url)) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def runs(airflow: LocalAirflow, sides: list[Side]) -> dict[str, str]:
    """A wave of each at once: migration → id of the DAG run."""
    begun = {side.name: airflow.trigger(f"{side.name}-wave_pilot") for side in sides}
    ends = {name: airflow.wait(f"{name}-wave_pilot", run, 2 * PATIENCE) for name, run in begun.items()}
    assert ends == dict.fromkeys(NAMES, "success")
    return begun


def test_each_wave_is_in_its_own_medplum_and_manifest_and_nowhere_else(sides: list[Side], runs: dict[str, str]) -> None:
    for side in sides:
        assert side.families() == side.patients
        assert side.systems() == {f"https://{side.name}.example"}
        with side.manifest.begin() as connection:
            [run] = list_runs(connection, side.name, 10)
            others = [list_runs(connection, name, 10) for name in NAMES if name != side.name]
        assert (run.id, run.status) == (f"{side.name}-wave_pilot.{runs[side.name]}", RunStatus.SUCCEEDED)
        assert others == [[]]
        assert list((side.folder / "of" / side.name / "reports").glob("*/reconciliation.html"))


def test_airflow_shows_each_under_its_name(airflow: LocalAirflow, runs: dict[str, str]) -> None:
    assert airflow.api is not None
    for name, run in runs.items():
        tagged = airflow.api.request("GET", "dags", tags=name, limit=100)["dags"]
        assert {one["dag_id"] for one in tagged} >= {f"{name}-wave_pilot", f"{name}-panic"}
        assert all(one["dag_id"].startswith(f"{name}-") for one in tagged)
        assert airflow.api.request("GET", f"dags/{name}-wave_pilot/dagRuns/{run}")["note"] == "Medferry: PROVEN"
        of_run = {"source_dag_id": f"{name}-wave_pilot", "source_run_id": run}
        events = airflow.api.request("GET", "assets/events", **of_run)["asset_events"]
        assert {one["uri"] for one in events} == {f"medferry://{name}/pilot/{how}" for how in ("loaded", "proven")}


def test_each_has_its_pages_for_those_who_may_sign_in(airflow: LocalAirflow, runs: dict[str, str]) -> None:
    with httpx.Client(base_url=airflow.url, timeout=180) as client:
        assert client.get("/medferry/of/labs/runs").status_code == client.get("/medferry/runs").status_code == 401
        login = client.post("/auth/token", json={"username": USER, "password": airflow.password}).json()
        client.headers["Authorization"] = f"Bearer {login['access_token']}"
        offered = client.get("/medferry/runs")
        assert offered.status_code == 300 and "/medferry/of/labs/runs" in offered.text
        for name, run in runs.items():
            shown = client.get(f"/medferry/dags/{name}-wave_pilot/runs/{run}")
            assert "PROVEN" in shown.text and f"/medferry/of/{name}/runs" in shown.text
            listed = client.get(f"/medferry/of/{name}/runs").text
            assert [other for other in NAMES if f"{other}-wave_pilot" in listed] == [name]
