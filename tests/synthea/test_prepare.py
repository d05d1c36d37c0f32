"""`prepare` reads any export of a layout that the migration knows, and refuses every other."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from medferry.definition.outline import MIGRATIONS_FOLDER
from medferry.errors import DefinitionError, SourceError
from medferry.plan.load import load_plan
from medferry.source.database import connect_engine
from migrations.synthea.prepare import headers, prepare, read_layout, write_units
from tests.synthea.sample import REPOSITORY, Sample

HOME = MIGRATIONS_FOLDER / "synthea"


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    return Path(shutil.copy(HOME / "plan.yaml", tmp_path / "plan.yaml"))


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """A smallest export: every file with its header, and one organization."""
    folder = tmp_path / "csv"
    folder.mkdir()
    for table, columns in read_layout(HOME / "layout.csv").items():
        required = [column.upper() for column, presence in columns.items() if presence == "required"]
        (folder / f"{table}.csv").write_text(",".join(required) + "\n")
    with (folder / "organizations.csv").open("a") as file:
        file.write('o-1,"St. ""Q"" \\ Clinic",1 Road,Town,MA,01001,42.5,-71.8,555,0,1\n')
    return folder


@pytest.fixture
def engine(tmp_path: Path) -> sa.Engine:
    return connect_engine(f"sqlite:///{tmp_path}/export.db")


def test_the_layout_is_the_samples(sample: Sample) -> None:
    found = headers(sample.output / "csv")
    layout = read_layout(HOME / "layout.csv")
    required = {t: [c for c, presence in columns.items() if presence == "required"] for t, columns in layout.items()}
    assert found == required


def test_every_row_of_the_sample_is_loaded(sample: Sample) -> None:
    for table, loaded in sample.loaded.items():
        with (sample.output / "csv" / f"{table}.csv").open(newline="") as file:
            assert loaded == sum(1 for _ in csv.reader(file)) - 1, table
    assert sum(sample.loaded.values()) == 11_969


def test_the_plans_units_are_the_exports_organizations(engine: sa.Engine, export: Path, plan: Path) -> None:
    before = plan.read_text()
    prepare(engine, export, plan)
    assert [(unit.id, unit.shared) for unit in load_plan(plan).units] == [("shared", True), ("o-1", False)]
    assert load_plan(plan).units[1].title == 'St. "Q" \\ Clinic'
    kept = [line for line in plan.read_text().splitlines() if "o-1" not in line]
    assert kept == before.splitlines()
    once = plan.read_text()
    prepare(engine, export, plan)
    assert plan.read_text() == once


def test_optional_columns_are_kept_when_there_and_empty_when_not(engine: sa.Engine, export: Path, plan: Path) -> None:
    columns = "START,STOP,PATIENT,ENCOUNTER,SYSTEM,CODE,DESCRIPTION\n"
    (export / "conditions.csv").write_text(columns + "2020-01-01,,p,e,SNOMED-CT,1,x\n")
    (export / "patients.csv").write_text((export / "patients.csv").read_text() + "p" + "," * 26 + "\n")
    prepare(engine, export, plan)
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT system FROM conditions")).scalar_one() == "SNOMED-CT"
        assert connection.execute(sa.text("SELECT middle FROM patients")).scalar_one() == ""


def test_an_unknown_column_is_refused_until_it_is_accepted(engine: sa.Engine, export: Path, plan: Path) -> None:
    (export / "supplies.csv").write_text("DATE,PATIENT,ENCOUNTER,CODE,DESCRIPTION,QUANTITY,LOT\n")
    with pytest.raises(SourceError, match=r"does not know supplies\.lot"):
        prepare(engine, export, plan)
    assert not sa.inspect(engine).get_table_names()
    prepare(engine, export, plan, accept_unknown=True)


def test_a_missing_file_is_refused(engine: sa.Engine, export: Path, plan: Path) -> None:
    (export / "devices.csv").unlink()
    with pytest.raises(SourceError, match=r"lacks devices\.start"):
        prepare(engine, export, plan)


def test_a_plan_that_would_be_unreadable_stays(plan: Path) -> None:
    before = plan.read_text()
    with pytest.raises(DefinitionError):
        write_units(plan, {"no unit id!": "x"})
    assert plan.read_text() == before


def test_the_command_tells_what_it_loaded(tmp_path: Path, export: Path, plan: Path) -> None:
    environment = {"PYTHONPATH": "include", "PATH": os.environ["PATH"]}
    command = [sys.executable, "-m", "migrations.synthea.prepare", str(export), "--plan", str(plan)]

    def run(**more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=REPOSITORY, env=environment | more, capture_output=True, text=True)

    without = run()
    assert without.returncode == 1 and "MEDFERRY_SOURCE_URL is not set" in without.stderr
    done = run(MEDFERRY_SOURCE_URL=f"sqlite:///{tmp_path}/export.db")
    assert done.returncode == 0, done.stderr
    assert "         1  organizations" in done.stdout
