"""The command line as its user calls it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from medferry.cli.main import app
from medferry.runtime.environment import Environment
from tests.tiny_platform import MIGRATION, variables


@pytest.fixture
def medferry(tiny: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Call the command line with the tiny platform's settings in the environment."""
    for name, value in {**variables(tiny.settings), "MEDFERRY_MIGRATION": str(MIGRATION)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(app, list(arguments))
        assert result.exit_code == code, result.output
        return result

    return call
