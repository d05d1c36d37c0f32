"""A trigger on `"Weight"` sees no write of `weight`: each command that has to do with triggers tells which is read."""

from __future__ import annotations

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
