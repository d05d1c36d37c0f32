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
def medferry(captured: Environment, monkeypatch: pytest.MonkeyPatch):  # noqa: F811
    for name, value in variables(captured.settings).items():
        monkeypatch.setenv(name, value)

    def call(*words: str) -> Result:
        return CliRunner().invoke(app, [*words, "-m", str(captured.migration.folder)])

    return call


def test_from_the_first_sweep_to_the_status(medferry, loaded: Environment, write: Write) -> None:  # noqa: F811
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
    assert table.count("miss rate") == 2 and "not loaded yet" not in table  # the fixture has loaded every unit


def test_a_wave_of_which_only_the_shared_units_were_loaded_is_told_in_a_line(
    medferry,
    captured: Environment,  # noqa: F811
) -> None:
    load(captured, ["shared", "north"])
    assert medferry("capture", "install", "--apply").exit_code == 0
    table = medferry("sync", "status").output
    assert table.count("miss rate") == 1 and "Wave pilot" in table and "Wave rest: not loaded yet." in table


def give_to_medplum(environment: Environment) -> None:
    """Let Medplum's users write patients, by the plan."""
    plan = environment.migration.folder / "plan.yaml"
    rules = "authority:\n  domains: {people: [patient]}\n  rules: [{domain: people, writer: medplum}]\n"
    plan.write_text(plan.read_text() + rules)


def test_what_users_changed_in_medplum_is_told_and_written_back(
    medferry,
    loaded: Environment,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert medferry("capture", "install", "--apply").exit_code == 0
    assert medferry("sweep", "pilot").exit_code == 0
    with loaded.medplum() as client:
        [ada] = [one for one in client.search_all("Patient", []) if one["name"][0]["family"] == "Ada"]
        edited = {**ada, "name": [{"family": "Baker"}], "gender": "other"}
        client.batch([{"resource": edited, "request": {"method": "PUT", "url": f"Patient/{ada['id']}"}}], 100)
    assert "against-authority: family" in medferry("sync", "pilot", "--dry-run", "--direction", "reverse").output
    give_to_medplum(loaded)
    preview = medferry("sync", "pilot", "--dry-run", "--direction", "reverse").output
    assert "1 row(s) would be written" in preview and "family 1" in preview and "no-local-code" in preview
    refused = medferry("sync", "pilot", "--direction", "reverse")
    assert (refused.exit_code, "MEDFERRY_LEGACY_WRITER_URL" in refused.output) == (1, True)
    monkeypatch.setenv("MEDFERRY_LEGACY_WRITER_URL", loaded.settings.source_url)
    done = medferry("sync", "pilot", "--direction", "both")
    assert "Written back: 1 row(s)" in done.output, done.output
    assert not {"Baker", "other"} & {*(preview + done.output).split()}
    with loaded.source.connect() as connection:
        assert connection.exec_driver_sql("SELECT family FROM patient WHERE id = 1").scalar() == "Baker"
    [pilot, rest] = json.loads(medferry("sync", "status", "--json").output)
    assert [(one["entity"], one["key"], one["path"]) for one in pilot["held_back"]] == [("patient", "1", "gender")]
    assert (pilot["feeds"][0]["resource_type"], rest["feeds"]) == ("Patient", [])
    assert "Held back" in medferry("sync", "status").output


def test_a_sweep_is_told_to_stop(medferry, loaded: Environment) -> None:  # noqa: F811
    with loaded.manifest.begin() as connection:
        sweep_id = sweeps.begin(connection, loaded.migration.name, "pilot", "patient")
    assert "Told 1 sweep(s)" in medferry("sweep", "pilot", "--stop").output
    with loaded.manifest.begin() as connection:
        assert sweeps.is_stopped(connection, sweep_id)
