"""`medferry capture`: printed first, applied when asked, checked, removed; on the tiny platform."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner, Result

from medferry.cli.main import app
from tests import tiny_platform

RULES = """
entities:
  clinic: {tables: {clinic: id}}
  staff: {tables: {staff: id}}
  patient: {tables: {patient: id}}
  weight: {tables: {weight: id}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = Path(shutil.copytree(tiny_platform.MIGRATION, tmp_path / "tiny"))
    (folder / "capture.yaml").write_text(RULES)
    monkeypatch.setenv("MEDFERRY_SOURCE_URL", f"sqlite:///{tmp_path}/legacy.db")
    tiny_platform.fill(f"sqlite:///{tmp_path}/legacy.db")
    return folder


def medferry(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(app, [*words, "-m", str(folder)])


def tables(folder: Path) -> set[str]:
    engine = sa.create_engine(f"sqlite:///{folder.parent}/legacy.db")
    try:
        return set(sa.inspect(engine).get_table_names())
    finally:
        engine.dispose()


def test_install_prints_and_changes_nothing(folder: Path) -> None:
    told = medferry(folder, "capture", "install")
    assert told.exit_code == 0, told.output
    assert "CREATE TABLE medferry_change" in told.output
    assert "CREATE TRIGGER medferry_patient_update AFTER UPDATE ON patient" in told.output
    assert "Nothing was executed" in told.output
    assert "medferry_change" not in tables(folder)


def test_the_printed_script_is_what_the_engine_s_client_takes(folder: Path) -> None:
    script = medferry(folder, "capture", "install").output
    engine = sa.create_engine(f"sqlite:///{folder.parent}/legacy.db")
    connection = engine.raw_connection()
    connection.driver_connection.executescript(script)  # type: ignore[union-attr]
    connection.close()
    engine.dispose()
    assert "Capture is complete: 4 tables" in medferry(folder, "capture", "check").output


def test_applied_checked_and_removed(folder: Path) -> None:
    broken = medferry(folder, "capture", "check")
    assert (broken.exit_code, "CaptureBroken" in broken.output) == (1, True)
    assert "Done" in medferry(folder, "capture", "install", "--apply").output
    assert "Nothing to do" in medferry(folder, "capture", "install").output
    assert "Capture is complete: 4 tables" in medferry(folder, "capture", "check").output
    assert "DROP TABLE medferry_change" in medferry(folder, "capture", "remove").output
    assert "medferry_change" in tables(folder)
    assert "Done" in medferry(folder, "capture", "remove", "--apply").output
    assert tables(folder) == {"clinic", "staff", "patient", "weight"}


def test_a_url_of_its_own_is_used_for_writing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDFERRY_SOURCE_URL", "sqlite:////nowhere/legacy.db")
    monkeypatch.setenv("MEDFERRY_CAPTURE_URL", f"sqlite:///{folder.parent}/legacy.db")
    assert medferry(folder, "capture", "install", "--apply").exit_code == 0
    assert "medferry_change" in tables(folder)


def test_a_migration_without_rules_is_told_to_write_them(folder: Path) -> None:
    (folder / "capture.yaml").unlink()
    told = medferry(folder, "capture", "install")
    assert (told.exit_code, "has no capture.yaml" in told.output) == (1, True)


def test_plan_check_tells_how_changes_are_found_and_refuses_a_gap(folder: Path) -> None:
    assert "by log: clinic, staff, patient, weight" in medferry(folder, "plan", "check").output
    (folder / "capture.yaml").write_text(RULES.replace("  weight: {tables: {weight: id}}\n", ""))
    told = medferry(folder, "plan", "check")
    assert (told.exit_code, "changes of weight" in " ".join(told.output.split())) == (1, True)


def test_plan_check_wants_capture_where_both_systems_stay_in_step(folder: Path) -> None:
    plan = folder / "plan.yaml"
    plan.write_text(plan.read_text().replace("strategy: phased", "strategy: parallel"))
    assert medferry(folder, "plan", "check").exit_code == 0
    (folder / "capture.yaml").unlink()
    assert medferry(folder, "plan", "check").exit_code == 1


def test_what_no_trigger_can_log_is_told_before_and_while_it_is_installed(folder: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{folder.parent}/legacy.db")
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE weight RENAME TO weighed")
        connection.exec_driver_sql("CREATE VIEW weight AS SELECT * FROM weighed")
    engine.dispose()
    checked = medferry(folder, "plan", "check")
    assert checked.exit_code == 1 and "There is no table weight" in checked.output, checked.output
    for more in ((), ("--apply",)):
        told = medferry(folder, "capture", "install", *more).output
        assert "Not mended by this: there is no table weight" in told
    assert "there is no table weight" in medferry(folder, "capture", "check").output


def test_a_column_that_is_not_there_is_told_before_anything_is_made(folder: Path) -> None:
    """SQLite, as PostgreSQL, would make the trigger, and then refuse every write of the application."""
    (folder / "capture.yaml").write_text(RULES.replace("{patient: id}", '{patient: "{row}.idd"}'))
    for words in (("plan", "check"), ("capture", "install"), ("capture", "install", "--apply"), ("capture", "check")):
        told = CliRunner().invoke(app, [*words, "-m", str(folder)], env={"COLUMNS": "400"})
        assert (words, told.exit_code) == (words, 1)
        assert "capture.yaml, entity patient, table patient: `{row}.idd` cannot be evaluated" in told.output
        assert "no such column" in told.output
    assert "medferry_change" not in tables(folder)
