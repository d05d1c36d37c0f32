"""`medferry inventory` on the tiny platform."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner, Result

from medferry.cli.main import app
from tests import tiny_platform


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    url = f"sqlite:///{tmp_path}/legacy.db"
    tiny_platform.fill(url)
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE forgotten (id INTEGER, note TEXT)")
    engine.dispose()
    monkeypatch.setenv("MEDFERRY_SOURCE_URL", url)
    return Path(shutil.copytree(tiny_platform.MIGRATION, tmp_path / "migration"))


def _inventory(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["inventory", "--migration", str(folder), *options])


def test_what_nobody_reads_is_undecided(folder: Path) -> None:
    result = _inventory(folder)
    assert result.exit_code == 1
    assert "forgotten" in result.stdout
    columns = {(one["table"], one["column"]): one for one in json.loads(_inventory(folder, "--json").stdout)}
    assert columns["forgotten", "note"] == {"table": "forgotten", "column": "note", "entities": [], "reason": ""}
    assert columns["patient", "family"]["entities"] == ["patient"]


def test_what_is_left_behind_for_a_reason_is_decided(folder: Path) -> None:
    undecided = {
        f"{one['table']}.{one['column']}"
        for one in json.loads(_inventory(folder, "--json").stdout)
        if not one["entities"] and one["table"] != "forgotten"
    }
    lines = [f'  "{name}": "kept in the archive"' for name in sorted(undecided)]
    text = "\n".join(["tables:", '  "forg*": "a scratch table"', *(["columns:", *lines] if lines else [])])
    (folder / "left_behind.yaml").write_text(text)
    result = _inventory(folder, "--columns")
    assert result.exit_code == 0, result.output
    assert "a scratch table" in result.stdout


def test_a_line_that_matches_nothing_is_told(folder: Path) -> None:
    (folder / "left_behind.yaml").write_text(
        "tables: {forgoten: scratch, forgotten: scratch}\ncolumns: {patient.x: gone}\n"
    )
    result = _inventory(folder)
    assert result.exit_code == 1
    assert "forgoten matches nothing" in result.stdout
    assert "patient.x matches nothing" in result.stdout


def test_a_reason_must_be_given(folder: Path) -> None:
    (folder / "left_behind.yaml").write_text('tables: {forgotten: ""}\n')
    result = _inventory(folder)
    assert result.exit_code == 1
    assert "left_behind.yaml:1" in result.stderr.replace("\n", "")
