"""`medferry sync`, `sync status` and `sweep` on the tiny platform."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner, Result

from medferry.cli.main import app
from medferry.manifest import sweeps
from medferry.runtime.environment import Environment
from tests.sync.conftest import Write, captured, load, loaded, wave, write  # noqa: F401 - fixtures
from tests.tiny_platform import variables


@pytest.fixture
def medferry(loaded: Environment, monkeypatch: pytest.MonkeyPatch):  # noqa: F811
    for name, value in variables(loaded.settings).items():
        monkeypatch.setenv(name, value)

    def call(*words: str) -> Result:
        return CliRunner().invoke(app, [*words, "-m", str(loaded.migration.folder)])

    return call


def test_from_the_first_sweep_to_the_status(medferry, write: Write) -> None:  # noqa: F811
    assert "CaptureBroken" in medferry("sweep", "pilot").output
    assert medferry("capture", "install", "--apply").exit_code == 0
    early = medferry("sync", "pilot")
    assert (early.exit_code, "medferry sweep pilot" in " ".join(early.output.split())) == (1, True)
    swept = medferry("sweep", "pilot")
    assert (swept.exit_code, "Applied: nothing was missed" in swept.output) == (0, True), swept.output

    write("UPDATE patient SET family = 'Adair' WHERE id = 1")
    preview = medferry("sync", "pilot", "--dry-run")
    assert "takes 1 record(s)" in preview.output and "patient: 1" in preview.output
    before = json.loads(medferry("sync", "status", "--json").output)[0]
    assert {each["entity"]: each["pending"] for each in before["entities"]}["patient"] == 1
    done = medferry("sync", "pilot", "--once")
    assert (done.exit_code, "1 successful" in done.output) == (0, True), done.output

    [pilot, rest] = json.loads(medferry("sync", "status", "--json").output)
    patient = next(each for each in pilot["entities"] if each["entity"] == "patient")
    assert (patient["pending"], patient["miss_rate"]) == (0, 0.0)
    assert 0 <= patient["lag_p50"] <= patient["lag_p99"]
    assert (pilot["fault"], pilot["state"], pilot["writers"][0]["changes"]) == ("", "applied", 1)
    assert "medferry sweep rest" in rest["fault"]
    table = medferry("sync", "status").output
    assert "Wave pilot" in table and "changes of patient" in table and "Heartbeat" in table


def test_a_sweep_is_told_to_stop(medferry, loaded: Environment) -> None:  # noqa: F811
    with loaded.manifest.begin() as connection:
        sweep_id = sweeps.begin(connection, loaded.migration.name, "pilot", "patient")
    assert "Told 1 sweep(s)" in medferry("sweep", "pilot", "--stop").output
    with loaded.manifest.begin() as connection:
        assert sweeps.is_stopped(connection, sweep_id)
