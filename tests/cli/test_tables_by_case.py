"""A trigger on `"Weight"` sees no write of `weight`: each command that has to do with triggers tells which is read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner, Result

from demo_clinics import database as servers
from medferry.cli.main import app
from tests import tiny_platform
from tests.cli.test_capture_command import RULES as CAPTURE
from tests.cli.test_gate_command import RULES as GATE


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = Path(shutil.copytree(tiny_platform.MIGRATION, tmp_path / "tiny"))
    with servers.embedded() as server:
        monkeypatch.setenv("MEDFERRY_SOURCE_URL", server.url)
        tiny_platform.fill(server.url)
        engine = sa.create_engine(server.url)
        with engine.begin() as connection:
            connection.exec_driver_sql('CREATE TABLE "Weight" AS SELECT * FROM weight')
        engine.dispose()
        yield folder


def medferry(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(app, [*words, "-m", str(folder)], env={"COLUMNS": "400"})


def test_a_table_that_differs_by_case_from_the_one_that_is_read_is_refused(folder: Path) -> None:
    for file, rules, name in (("capture.yaml", CAPTURE, "weight: id"), ("gate.yaml", GATE, 'weight: "{row}.unit"')):
        command = file.removesuffix(".yaml")
        (folder / file).write_text(rules.replace(name, name.capitalize()))
        for words in (("plan", "check"), (command, "install"), (command, "install", "--apply"), (command, "check")):
            told = medferry(folder, *words)
            assert (words, told.exit_code) == (words, 1)
            assert "Weight is the table Weight of the legacy database, and weight reads weight" in told.output
        (folder / file).write_text(rules)
        for words in (("plan", "check"), (command, "install", "--apply"), (command, "check")):
            assert medferry(folder, *words).exit_code == 0, words


def test_the_grants_that_are_printed_can_be_run_and_are_enough(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for a table with a capital letter, and for one that the condition of a check alone reads."""
    entity, checks = folder / "entities/weight.sql", folder / "checks/weight.yaml"
    entity.write_text(entity.read_text().replace("FROM weight", 'FROM "Weight"'))
    text = checks.read_text().replace("from: weight w", "from: '\"Weight\" w'")
    checks.write_text(text.replace("  main:\n", "  main:\n    when: w.id NOT IN (SELECT id FROM left_out)\n"))
    (folder / "capture.yaml").write_text(CAPTURE.replace("weight: id", "Weight: id"))
    (folder / "gate.yaml").write_text(GATE.replace("weight:", "Weight:"))
    url = sa.make_url(os.environ["MEDFERRY_SOURCE_URL"])
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE left_out (id INTEGER)")
        connection.exec_driver_sql("DROP TABLE weight")
        connection.exec_driver_sql("CREATE ROLE the_reading_account LOGIN PASSWORD 'r'")
    grants = [line.strip() for line in medferry(folder, "plan", "check").output.splitlines() if "GRANT" in line]
    reader = url.set(username="the_reading_account", password="r").render_as_string(hide_password=False)
    monkeypatch.setenv("MEDFERRY_SOURCE_URL", reader)
    assert medferry(folder, "plan", "check").exit_code == 1, "nothing is granted yet"
    with engine.begin() as connection:
        for grant in grants:
            connection.exec_driver_sql(grant)
    engine.dispose()
    checked = medferry(folder, "plan", "check")
    assert checked.exit_code == 0, checked.output
