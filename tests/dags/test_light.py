"""A DAG file, or a plugin, brings along nothing that only tasks need: Airflow reads each again and again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.dags.conftest import ROOT

DEAR = (
    *("sqlglot", "fhirpathpy", "alembic", "fhir.resources.R4B.patient"),
    *("medferry.definition.migration", "medferry.manifest.tables", "medferry.runtime.environment", "medferry.stages"),
)
"""What costs hundredths of a second or more each, in every reading of every DAG file, and again before each task."""

READ = """
import runpy, sys
dear = sys.argv[1].split()
for path in sys.argv[2:]:
    before = set(sys.modules)
    runpy.run_path(path)
    brought = [name for name in dear if name in sys.modules and name not in before]
    if brought:
        print(path, *brought)
"""


def brought(*paths: str) -> str:
    """What reading DAG files imports that is dear, one file a line."""
    command = [sys.executable, "-c", READ, " ".join(DEAR), *paths]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_no_dag_file_and_no_plugin_brings_along_what_only_its_tasks_need() -> None:
    files = [str(path) for folder in ("dags", "plugins") for path in sorted((ROOT / folder).glob("*.py"))]
    assert len(files) >= 13
    assert brought(*files) == ""


def test_what_is_dear_is_found(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text("import medferry.definition.migration\n", encoding="utf-8")
    assert "sqlglot" in brought(str(planted)) and "medferry.definition.migration" in brought(str(planted))
