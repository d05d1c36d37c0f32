"""The image of docker/Dockerfile: what goes in, who runs it, and that its packages can do what Compose asks of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.compose.environment import ROOT

DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
ALLOWED = (ROOT / "docker" / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()


def _built(services: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [service for service in services.values() if "build" in service]


def test_only_listed_paths_enter_and_they_exist() -> None:
    assert next(line for line in ALLOWED if not line.startswith("#")) == "*"
    patterns = [line.removeprefix("!") for line in ALLOWED if line.startswith("!")]
    assert {"requirements.lock", "dags", "plugins", "include"} <= set(patterns)
    assert not [pattern for pattern in patterns if not list(ROOT.glob(pattern))]
    assert not [pattern for pattern in patterns if pattern in (".env", "build", "tests", ".git")]


def test_copied_files_are_allowed_in() -> None:
    copied = re.findall(r"^COPY (?!--from)(\S+)", DOCKERFILE, flags=re.MULTILINE)
    assert copied == ["requirements.lock", "."]


def test_packages_come_from_the_lock_with_hashes() -> None:
    assert re.search(r"uv pip install .*--require-hashes --compile-bytecode .*-r requirements\.lock", DOCKERFILE)
    assert "--hash=sha256:" in (ROOT / "requirements.lock").read_text(encoding="utf-8")
    given = re.search(r"UV_VERSION=(\S+)", DOCKERFILE)
    known = re.search(r"UV_VERSION := (\S+)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert given and known and given[1] == known[1]


def test_runs_as_an_ordinary_user() -> None:
    users = re.findall(r"^USER (\S+)", DOCKERFILE, flags=re.MULTILINE)
    assert users == ["airflow"]
    assert DOCKERFILE.index("USER airflow") > DOCKERFILE.index("COPY . .")


def test_built_services_use_that_dockerfile(services: dict[str, dict[str, Any]]) -> None:
    assert {(one["build"]["context"], one["build"]["dockerfile"]) for one in _built(services)} == {
        (str(ROOT), "docker/Dockerfile")
    }
    assert {one["image"] for one in _built(services)} == {"medferry-airflow"}


def test_folders_of_the_volumes_belong_to_the_user(services: dict[str, dict[str, Any]]) -> None:
    made = re.search(r"install -d -o airflow [^&]*", DOCKERFILE, flags=re.DOTALL)
    assert made
    for service in _built(services):
        for volume in service.get("volumes", []):
            assert f" {volume['target']}" in made[0]


def test_scripts_that_run_in_it_exist(services: dict[str, dict[str, Any]]) -> None:
    words = [word for service in _built(services) for word in service["command"]]
    files = [ROOT / word.removeprefix("/opt/medferry/") for word in words if word.startswith("/opt/medferry/")]
    assert len(files) == 4, "three scripts, and the policy that one of them is given"
    assert all(each.is_file() for each in files)


@pytest.mark.slow
def test_celery_of_the_lock_works_with_airflow(services: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    """The worker's own settings: its app is made, finds its result backend and can address a broker."""
    code = (
        "from airflow.providers.celery.executors.celery_executor import app;"
        "app.amqp; print(type(app.backend).__name__, app.conf.broker_url, app.conf.worker_concurrency)"
    )
    own = services["airflow-worker"]["environment"]
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    given = {**kept, **own, "PYTHONPATH": str(ROOT / "include"), "AIRFLOW_HOME": str(tmp_path)}
    # There is no airflow-db here, and the backend makes its tables at once.
    given["AIRFLOW__CELERY__RESULT_BACKEND"] = f"db+sqlite:///{tmp_path}/results.db"
    done = subprocess.run([sys.executable, "-c", code], env=given, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1000:]
    broker = own["AIRFLOW__CELERY__BROKER_URL"]
    assert done.stdout.splitlines()[-1] == f"DatabaseBackend {broker} 4"
