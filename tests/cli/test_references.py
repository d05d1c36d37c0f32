"""Who is referred to by a number that is no key of the one that is meant is told so, before a record is another's."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from medferry.cli.terminal import NOT_BEGUN
from medferry.manifest.database import open_manifest
from medferry.manifest.runs import list_runs
from medferry.runtime.environment import Environment
from tests.tiny_platform import MIGRATION

Call = Callable[..., Result]

_LEGACY = """
ALTER TABLE patient ADD COLUMN mrn INTEGER;
UPDATE patient SET mrn = 9 - id;
ALTER TABLE weight ADD COLUMN person INTEGER REFERENCES patient (id);
UPDATE weight SET person = patient_id
"""
_TOLD = (
    "is made of weight.person, which refers to patient.id by a foreign key; the key of patient is made of patient.mrn"
)


@pytest.fixture
def folder(tiny: Environment, medferry: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny migration with another key for its patients than the one that their weights refer to."""
    with tiny.source.begin() as connection:
        for statement in _LEGACY.split(";"):
            connection.exec_driver_sql(statement)
    made = Path(shutil.copytree(MIGRATION, tmp_path / "ehr", ignore=shutil.ignore_patterns("__pycache__")))
    edit(made, "entities/patient.sql", "-- key: id", "-- key: mrn")
    edit(made, "entities/patient.sql", "SELECT id,", "SELECT id, mrn,")
    edit(made, "entities/weight.sql", "patient_id", "person")
    edit(made, "mappings/weight.py", 'row["patient_id"]', 'row["person"]')
    edit(made, "checks/patient.yaml", "key: p.id", "key: p.mrn")
    edit(made, "checks/weight.yaml", "w.patient_id", "w.person")
    monkeypatch.setenv("MEDFERRY_MIGRATION", str(made))
    monkeypatch.setenv("COLUMNS", "1000")
    return made


def edit(folder: Path, name: str, old: str, new: str) -> None:
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))


def test_plan_check_refuses_what_would_be_proven_on_the_wrong_patient(medferry: Call, folder: Path) -> None:
    told = medferry("plan", "check", code=1).output
    assert f"weight.py:14: the reference to patient {_TOLD}" in told
    assert f"weight.yaml:9: the reference that the check patient compares {_TOLD}" in told


def test_no_run_begins(medferry: Call, folder: Path, tiny: Environment) -> None:
    told = medferry("run", "--entity", "clinic", "--entity", "patient", "--entity", "weight", code=1).output
    assert _TOLD in told and NOT_BEGUN in told
    with open_manifest(tiny.settings.manifest_url).begin() as connection:
        assert list_runs(connection, "tiny", 5) == []


def test_plan_check_tells_what_is_not_certain(medferry: Call, folder: Path) -> None:
    edit(folder, "entities/patient.sql", "mrn,", "COALESCE(mrn, id + 1000) AS mrn,")
    assert "patient.mrn" not in medferry("plan", "check").output
    edit(folder, "entities/patient.sql", "COALESCE(mrn, id + 1000)", "COALESCE(mrn, 0)")
    assert f"mappings/weight.py:14: the reference to patient {_TOLD}: look whether" in medferry("plan", "check").output
