"""``make demo`` as a user runs it, small: twice, with a canary in the patients' names."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from demo_clinics import database
from medferry.manifest.tables import metadata
from tests.database_content import content_of

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(3_600)]

ROOT = Path(__file__).resolve().parents[2]
CANARY = "Zqcanaryxz"


@dataclass(frozen=True)
class Demo:
    """What two demos in one folder left behind and printed."""

    folder: Path
    printed: str
    reports: list[dict[str, Any]]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("demo")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "MEDFERRY"))}
    environment["PYTHONPATH"] = str(ROOT / "include")
    command = [sys.executable, "-m", "demo_clinics.demo", "--folder", folder, "--patients", "150", "--canary", CANARY]
    printed, reports = "", []
    for _ in range(2):
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        with subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes) as process:
            try:
                told, _ = process.communicate(timeout=1_500)
            except subprocess.TimeoutExpired:
                process.terminate()  # and not kill: it has servers to stop
                raise
        assert process.returncode == 0, told
        printed += told
        reports.append(json.loads((folder / "reconciliation.json").read_text()))
    yield Demo(folder, printed, reports)
    elsewhere = folder / "postgresql" / "data-is-elsewhere.txt"
    if elsewhere.exists():
        shutil.rmtree(elsewhere.read_text().strip())


def test_the_table_equals_the_truth_both_times(demo: Demo) -> None:
    counts = json.loads((demo.folder / "truth.json").read_text())["counts"]
    eligible = {
        (entity, unit): sum(n if isinstance(n, int) else sum(n.values()) for n in dispositions.values())
        for entity, units in counts.items()
        for unit, dispositions in units.items()
    }
    for report in demo.reports:
        assert report["verdict"] == "proven"
        assert {(row["entity"], row["unit"]): row["eligible"] for row in report["rows"]} == eligible
    assert demo.printed.count("Every count equals the generator's truth.") == 2


def test_the_second_demo_creates_and_changes_nothing(demo: Demo) -> None:
    first, second = (
        {name: sum(row[name] for row in report["rows"]) for name in ("created", "updated", "unchanged")}
        for report in demo.reports
    )
    assert first["created"] > 3_000
    assert second == {"created": 0, "updated": 0, "unchanged": first["created"]}


def test_the_canary_was_really_migrated(demo: Demo) -> None:
    staged = b"".join(gzip.decompress(path.read_bytes()) for path in demo.folder.glob("staging/*/bundles/patient-*/*"))
    assert CANARY.encode() in staged
    assert any(CANARY.encode() in path.read_bytes() for path in demo.folder.glob("medplum.db*"))


def test_the_canary_is_in_no_log_no_xcom_and_no_table_of_airflow(demo: Demo) -> None:
    files = [path for path in (demo.folder / "airflow").rglob("*") if path.is_file()]
    assert sum(path.suffix == ".log" for path in files) > 50
    assert [path.name for path in files if CANARY.encode() in path.read_bytes()] == []
    assert CANARY not in demo.printed
    with database.embedded(demo.folder / "postgresql") as server:
        tables = dict(content_of(database.another(server.url, "airflow")))
    assert b"big_bang" in tables["dag_run"]
    assert [table for table, rows in tables.items() if CANARY.encode() in rows] == []


def test_the_canary_is_in_no_report_no_server_log_and_no_file_name(demo: Demo) -> None:
    reports = [path for path in demo.folder.glob("reports/*/*") if path.is_file()]
    told = [*reports, *demo.folder.glob("reconciliation.*"), demo.folder / "medplum.log"]
    assert len(told) >= 7
    assert [path.name for path in told if CANARY.encode() in path.read_bytes()] == []
    assert [path for path in demo.folder.rglob("*") if CANARY in path.name] == []


def test_the_canary_is_in_no_table_of_the_manifest(demo: Demo) -> None:
    lines = list(manifest_lines(demo.folder))
    assert len(lines) > 10_000
    assert not any(CANARY in line for line in lines)


def manifest_lines(folder: Path) -> Iterator[str]:
    with database.embedded(folder / "postgresql") as server:
        engine = sa.create_engine(sa.make_url(server.url).set(database="medferry"))
        with engine.connect() as connection:
            for table in metadata.sorted_tables:
                yield from (str(tuple(row)) for row in connection.execute(sa.select(table)))
        engine.dispose()
