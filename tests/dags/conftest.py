"""The DAGs as Airflow's DAG processor sees them, without a database or a scheduler."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Before anything imports Airflow: it reads its configuration once, and writes into its home.
_MEMORY = Path("/dev/shm")
HOME = Path(tempfile.mkdtemp(prefix="medferry-dags-", dir=_MEMORY if _MEMORY.is_dir() else None))
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ |= {
    "AIRFLOW_HOME": str(HOME),
    "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
    "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
}

from airflow.dag_processing.dagbag import DagBag  # noqa: E402
from airflow.sdk import DAG  # noqa: E402


def pytest_unconfigure() -> None:
    """Also where nothing of this folder was run: a worker with other units, a collection."""
    shutil.rmtree(HOME, ignore_errors=True)


def parse(migration: str | Path | None = None) -> DagBag:
    """Parse dags/ for a migration (None: the default)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MEDFERRY_MIGRATION", raising=False)
        if migration is not None:
            patch.setenv("MEDFERRY_MIGRATION", str(migration))
        return DagBag(ROOT / "dags")


@pytest.fixture(scope="package")
def bag() -> DagBag:
    """The DAGs of the default migration."""
    return parse()


@pytest.fixture(scope="package")
def dags(bag: DagBag) -> dict[str, DAG]:
    return bag.dags


@pytest.fixture(scope="package")
def migration_dags(dags: dict[str, DAG]) -> list[DAG]:
    """The DAGs that write to Medplum."""
    return [dag for name, dag in dags.items() if name in ("big_bang", "replay") or name.startswith("wave_")]
