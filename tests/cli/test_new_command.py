"""`medferry new`: a folder from the live schema that `plan check` accepts, with what is open told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner, Result

from demo_clinics import database as servers
from medferry.cli.main import app
from medferry.definition.migration import load_migration
from medferry.mapping.context import Context
from medferry.mapping.outcomes import Quarantine
from medferry.source.database import connect_engine

SCHEMA = """
CREATE TABLE clinics (code VARCHAR(9) PRIMARY KEY, name VARCHAR(40), head INTEGER);
CREATE TABLE people (id INTEGER PRIMARY KEY, clinic VARCHAR(9), family VARCHAR(40), sex VARCHAR(1), born DATE,
  kind INTEGER, seen TIMESTAMP NULL, weight DECIMAL(6, 2), height DOUBLE PRECISION, dead BOOLEAN,
  mentor INTEGER REFERENCES people(id),
  login_password VARCHAR(9) DEFAULT 'hunter2',
  FOREIGN KEY (clinic) REFERENCES clinics(code));
CREATE TABLE {q}Class{q} (a INTEGER, {q}b c{q} INTEGER, clinic VARCHAR(9), person INTEGER,
  PRIMARY KEY (a, {q}b c{q}), FOREIGN KEY (person) REFERENCES people(id));
CREATE TABLE visits (room INTEGER NOT NULL, number INTEGER NOT NULL, site INTEGER, note VARCHAR(40), UNIQUE (number));
CREATE TABLE loose (note VARCHAR(40), number INTEGER UNIQUE)
"""
"""With a table that is a word of Python, a column with a blank, a reference to itself, and no key."""


@pytest.fixture(scope="module", params=["sqlite", "postgresql", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('new')}/legacy.db"
        _fill(url)
        yield url
        return
    start = {"postgresql": servers.embedded, "mariadb": servers.mariadb}[request.param]
    try:
        with start() as server:
            _fill(server.url)
            yield server.url
    except servers.BinariesMissing as missing:
        pytest.skip(str(missing))


def _fill(url: str) -> None:
    engine = sa.create_engine(connect_engine(url).url)
    quote = "`" if engine.dialect.name in ("mysql", "mariadb") else '"'
    with engine.begin() as connection:
        for statement in SCHEMA.format(q=quote).split(";"):
            connection.exec_driver_sql(statement)
        for code in ("north", "south"):
            connection.exec_driver_sql(f"INSERT INTO clinics VALUES ('{code}', 'Clinic {code}', NULL)")
        for number in range(60):
            sex = "X" if number == 0 else "FM"[number % 2]
            clinic = ("north", "south")[number % 2]
            connection.exec_driver_sql(
                f"INSERT INTO people (id, clinic, family, sex, born, kind, height, dead) VALUES "
                f"({number}, '{clinic}', 'Person {number}', '{sex}', '1980-01-0{number % 9 + 1}', {number % 3}, "
                f"{150 + number % 3}, {('TRUE', 'FALSE')[number % 2]})"
            )
        for number in range(4):
            connection.exec_driver_sql(f"INSERT INTO visits VALUES (1, {number}, {number}, 'visit {number}')")
        connection.exec_driver_sql(f"INSERT INTO {quote}Class{quote} VALUES (1, 2, 'north', 5)")
    engine.dispose()


@pytest.fixture
def new(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Result]:
    monkeypatch.setenv("MEDFERRY_SOURCE_URL", url)
    folder = tmp_path / "My Clinics"
    return folder, run(folder, "clinics=Organization", "people=Patient", "Class", unit="clinic")


def run(folder: Path, *tables: str, unit: str = "") -> Result:
    words = [part for table in tables for part in ("--table", table)]
    more = ["--unit-column", unit] if unit else []
    return CliRunner().invoke(app, ["new", str(folder), *words, "--time-zone", "America/New_York", *more])


def test_what_is_written_is_a_migration_that_plan_check_accepts(new: tuple[Path, Result]) -> None:
    folder, told = new
    assert told.exit_code == 0, told.output
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix != ".pyc"} >= {
        "plan.yaml", "entities/clinics.sql", "entities/people.sql", "entities/class.sql", "mappings/class.py",
        "checks/people.yaml", "terminology/people_sex.csv", "terminology/people_kind.csv",
    }  # fmt: skip
    checked = CliRunner().invoke(app, ["plan", "check", "-m", str(folder)])
    assert checked.exit_code == 0, checked.output
    assert "in draft, approved by nobody: class, clinics, people" in " ".join(checked.output.split())
    assert "cannot be proven: class, clinics, people" in " ".join(checked.output.split())
    assert "60" in checked.output  # the people were counted


def test_what_the_schema_says_is_in_the_files(new: tuple[Path, Result]) -> None:
    folder, _ = new
    migration = load_migration(folder)
    assert migration.name == "my_clinics"
    assert migration.plan.unit_ids == ["shared", "north", "south"]
    assert {name: spec.produces["main"] for name, spec in migration.specs.items()} == {
        "clinics": "Organization",
        "people": "Patient",
        "class": "Basic",
    }
    assert migration.levels == [["clinics"], ["people"], ["class"]]
    assert migration.entities["class"].key == ("a", "b c")
    people = (folder / "mappings/people.py").read_text()
    for hint in ("ctx.row.text('family')", "ctx.row.date('born')",
                 "ctx.row.instant('seen')", "ctx.row.number('weight')", "ctx.row.number('height')",
                 "None if row['dead'] is None else bool(row['dead'])",
                 "ctx.row.reference('people', 'mentor')",
                 "ctx.row.code('people_sex', 'sex')", "ctx.row.reference('clinics', 'clinic')"):  # fmt: skip
        assert hint in people


def test_only_values_that_many_rows_share_are_written(new: tuple[Path, Result]) -> None:
    folder, told = new
    codes = (folder / "terminology/people_sex.csv").read_text().splitlines()[1:]
    assert sorted(codes) == ["F,,,,,draft", "M,,,,,draft"]
    assert "1 values of fewer than 5 rows were left out" in " ".join(told.output.split())
    assert not any(
        "Person" in path.read_text() for path in folder.rglob("*") if path.suffix in (".csv", ".yaml", ".py")
    )


def test_what_lets_somebody_in_is_left_out_and_told(new: tuple[Path, Result]) -> None:
    folder, told = new
    assert "Left out, as they seem to hold secrets: people.login_password." in " ".join(told.output.split())
    written = [path.read_text() for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert not any("hunter2" in text or "login_password" in text for text in written)


def test_every_row_is_quarantined_until_it_is_mapped(new: tuple[Path, Result]) -> None:
    folder, _ = new
    migration = load_migration(folder)
    for name, spec in migration.specs.items():
        with pytest.raises(Quarantine, match="not-mapped-yet"):
            next(iter(spec({}, Context(migration.settings, spec, "1"))))
        assert name in migration.checks.entities


def test_without_units_everything_is_one(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDFERRY_SOURCE_URL", url)
    told = run(tmp_path / "whole", "people")
    assert told.exit_code == 0, told.output
    assert load_migration(tmp_path / "whole").plan.unit_ids == ["all"]
    assert CliRunner().invoke(app, ["plan", "check", "-m", str(tmp_path / "whole")]).exit_code == 0


def test_more_units_than_may_move_at_once_are_waves(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a table without a primary key is told apart by its unique one, where the engine names it."""
    if url.startswith("postgres"):
        pytest.skip("of PostgreSQL only primary keys are read")
    monkeypatch.setenv("MEDFERRY_SOURCE_URL", url)
    told = run(tmp_path / "sites", "visits", "clinics", unit="site")
    assert told.exit_code == 0, told.output
    migration = load_migration(tmp_path / "sites")
    assert migration.entities["visits"].key == ("number",)
    assert [wave.units for wave in migration.plan.waves] == [["0"], ["1"], ["2"], ["3"]]
    checked = CliRunner().invoke(app, ["plan", "check", "-m", str(tmp_path / "sites")])
    assert checked.exit_code == 0, checked.output


@pytest.mark.parametrize(
    ("tables", "unit", "told"),
    [
        (("nowhere",), "", "no table nowhere"),
        (("loose",), "", "no primary key"),
        (("people=Patient", "people=Practitioner"), "", "named twice"),
        (("people",), "elsewhere", "no column of business units"),
        (("people",), "family", "cannot be names of units"),
        (("people=Patiënt",), "", "Patiënt"),
    ],
)
def test_what_cannot_be_made_is_told(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tables: tuple[str, ...], unit: str, told: str
) -> None:
    monkeypatch.setenv("MEDFERRY_SOURCE_URL", url)
    result = run(tmp_path / "wrong", *tables, unit=unit)
    assert result.exit_code == 1
    assert told in " ".join(result.output.split())
    assert not (tmp_path / "wrong").exists()


def test_nothing_is_written_over(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDFERRY_SOURCE_URL", url)
    (tmp_path / "note.txt").write_text("mine")
    result = run(tmp_path, "people")
    assert (result.exit_code, "is not empty" in " ".join(result.output.split())) == (1, True)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]
