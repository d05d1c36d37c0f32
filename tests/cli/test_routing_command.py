"""`medferry routing`: made of the gates, shown, checked against them; on the tiny platform."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.cli.test_gate_command import folder, medferry  # noqa: F401 -- a fixture


@pytest.fixture
def gated(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: F811
    monkeypatch.setenv("MEDFERRY_ROUTING_FILE", str(folder.parent / "routing.json"))
    assert medferry(folder, "gate", "install", "--apply").exit_code == 0
    return folder


def shut(folder: Path, epoch: int) -> None:  # noqa: F811
    engine = sa.create_engine(f"sqlite:///{folder.parent}/legacy.db")
    values = {"epoch": epoch, "closing": epoch % 2}
    with engine.begin() as connection:
        statement = "UPDATE medferry_gate SET epoch = :epoch, closing = :closing WHERE unit = 'north'"
        connection.execute(sa.text(statement), values)
    engine.dispose()


def test_the_file_is_made_of_the_gates(gated: Path) -> None:
    assert "Nothing has been published" in medferry(gated, "routing", "show").output
    assert medferry(gated, "routing", "check").exit_code == 1
    assert medferry(gated, "routing", "publish").output == "Published: version 1.\n"
    assert medferry(gated, "routing", "publish").output == "Nothing to do: version 1.\n"
    assert medferry(gated, "routing", "check").output == "The routing is as the gates say: version 1, 3 routes.\n"
    shut(gated, 1)
    told = medferry(gated, "routing", "check")
    assert told.exit_code == 1 and "Of 1 routes the gates say something else" in told.output
    assert "north/all-other" in told.output
    assert medferry(gated, "routing", "publish").output == "Published: version 2.\n"
    shown = next(line for line in medferry(gated, "routing", "show").output.splitlines() if "north" in line)
    assert shown.count("medplum") == 2 and " 1 " in shown


def test_gates_that_went_back_publish_nothing(gated: Path) -> None:
    """As after a restore of the legacy database."""
    shut(gated, 3)
    assert medferry(gated, "routing", "publish").exit_code == 0
    shut(gated, 2)
    told = medferry(gated, "routing", "publish")
    assert told.exit_code == 1 and "published at epoch 3" in told.output
    assert "version 1" in medferry(gated, "routing", "show").output


def test_what_is_missing_is_told(gated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDFERRY_ROUTING_FILE")
    assert "MEDFERRY_ROUTING_FILE is not set" in medferry(gated, "routing", "show").output
    monkeypatch.setenv("MEDFERRY_ROUTING_FILE", str(gated.parent / "routing.json"))
    assert medferry(gated, "gate", "remove", "--apply").exit_code == 0
    assert "refused a statement of the gates" in medferry(gated, "routing", "publish").output
    (gated / "gate.yaml").unlink()
    assert "no gate.yaml" in medferry(gated, "routing", "publish").output
