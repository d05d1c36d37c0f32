"""`medferry gate`: printed first, applied when asked; a unit is closed, shown and opened; on the tiny platform."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from typer.testing import CliRunner, Result

from medferry.cli.main import app
from tests import tiny_platform

RULES = """
tables:
  patient: unit
  weight: "{row}.unit"
ungated:
  clinic: written by nobody here
  staff: written by nobody here
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = Path(shutil.copytree(tiny_platform.MIGRATION, tmp_path / "tiny"))
    (folder / "gate.yaml").write_text(RULES)
    monkeypatch.setenv("MEDFERRY_SOURCE_URL", f"sqlite:///{tmp_path}/legacy.db")
    tiny_platform.fill(f"sqlite:///{tmp_path}/legacy.db")
    return folder


def medferry(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(app, [*words, "-m", str(folder)], env={"COLUMNS": "200"})


def may_write(folder: Path, patient: int) -> bool:
    engine = sa.create_engine(f"sqlite:///{folder.parent}/legacy.db")
    try:
        with engine.begin() as connection:
            connection.execute(sa.text("UPDATE patient SET sex = sex WHERE id = :id"), {"id": patient})
    except DBAPIError as error:
        assert "medferry: the unit is closed" in str(error.orig)
        return False
    finally:
        engine.dispose()
    return True


def test_a_unit_is_closed_shown_and_opened(folder: Path) -> None:
    assert "Nothing was executed" in medferry(folder, "gate", "install").output
    assert "refused a statement of the gates" in medferry(folder, "gate", "show").output
    assert medferry(folder, "gate", "install", "--apply").exit_code == 0
    assert medferry(folder, "gate", "install").output == "Nothing to do.\n"
    assert "The gates are complete: 3 units, 2 tables." in medferry(folder, "gate", "check").output
    closed = medferry(folder, "gate", "close", "north", "--minutes", "5")
    assert closed.exit_code == 0 and "north is closed" in closed.output
    assert (may_write(folder, 1), may_write(folder, 4)) == (False, True)
    shown = medferry(folder, "gate", "show").output
    assert "closed" in shown and shown.count("open") >= 2
    assert medferry(folder, "gate", "open", "north").exit_code == 0
    assert may_write(folder, 1)
    assert medferry(folder, "gate", "remove", "--apply").exit_code == 0


def test_a_gate_with_a_trigger_less_is_not_closed(folder: Path) -> None:
    assert medferry(folder, "gate", "install", "--apply").exit_code == 0
    engine = sa.create_engine(f"sqlite:///{folder.parent}/legacy.db")
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TRIGGER medferrygate_weight_delete"))
    engine.dispose()
    told = medferry(folder, "gate", "close", "north", "--minutes", "5")
    assert told.exit_code == 1 and "the trigger medferrygate_weight_delete on weight is missing" in told.output
    assert may_write(folder, 1)


def test_what_cannot_be_closed_is_told(folder: Path) -> None:
    assert "no unit west" in medferry(folder, "gate", "close", "west", "--minutes", "5").output
    (folder / "gate.yaml").unlink()
    assert "no gate.yaml" in medferry(folder, "gate", "show").output


def test_a_column_that_is_not_there_is_told_before_anything_is_made(folder: Path) -> None:
    (folder / "gate.yaml").write_text(RULES.replace("patient: unit", "patient: units"))
    for words in (("plan", "check"), ("gate", "install"), ("gate", "install", "--apply"), ("gate", "check")):
        told = CliRunner().invoke(app, [*words, "-m", str(folder)], env={"COLUMNS": "400"})
        assert (words, told.exit_code) == (words, 1)
        assert "gate.yaml, table patient: `units` cannot be evaluated" in told.output
        assert "no such column" in told.output
    assert may_write(folder, 1)
