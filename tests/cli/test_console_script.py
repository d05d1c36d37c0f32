"""The console script ``medferry``, as `make install` and the image put it beside their Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "bin" / "medferry"


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A link to the script in an environment's folder, beside a Python that has the packages."""
    folder = tmp_path / "environment" / "bin"
    folder.mkdir(parents=True)
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    (folder / "medferry").symlink_to(SCRIPT)
    return folder / "medferry"


def call(script: Path | str, *arguments: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    given = {name: value for name, value in os.environ.items() if name != "PYTHONPATH" and "MEDFERRY" not in name}
    environment = {**given, "COLUMNS": "100", **variables}
    return subprocess.run([str(script), *arguments], cwd=folder, env=environment, capture_output=True, text=True)


def test_it_runs_from_any_folder_and_names_itself_medferry(script: Path, tmp_path: Path) -> None:
    result = call(script, "--help", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "Usage: medferry" in result.stdout


def test_it_is_found_on_the_path(script: Path, tmp_path: Path) -> None:
    path = f"{script.parent}:{os.environ['PATH']}"
    result = subprocess.run(
        "medferry --help", shell=True, cwd=tmp_path, env={"PATH": path}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr


def test_it_checks_a_plan(script: Path, tmp_path: Path) -> None:
    result = call(script, "plan", "check", folder=tmp_path, MEDFERRY_MIGRATION="clinics")
    assert result.returncode == 0, result.stderr
    assert "wave pilot" in result.stdout


def test_it_hands_on_a_failure(script: Path, tmp_path: Path) -> None:
    result = call(script, "plan", "check", "-m", "nowhere", folder=tmp_path)
    assert result.returncode == 1
    assert "DefinitionError" in result.stderr


@pytest.mark.parametrize(
    ("file", "link"),
    [
        ("Makefile", "ln -sf ../../bin/medferry $(BIN)/medferry"),
        ("docker/Dockerfile", "ln -s /opt/medferry/bin/medferry /opt/venv/bin/medferry"),
    ],
)
def test_environment_and_image_have_it(file: str, link: str) -> None:
    assert link in (ROOT / file).read_text(encoding="utf-8")
    assert os.access(SCRIPT, os.X_OK)
