"""All gates of a wave on the tiny platform: green when all is done, and red by each fault that is planted."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medferry.cli.main import app
from medferry.definition.migration import load_migration
from medferry.errors import OptionError
from medferry.governance.readiness import GateName
from medferry.manifest.consents import Consent
from medferry.manifest.database import create_manifest
from medferry.manifest.rehearsals import Measured, record_rehearsal
from medferry.runtime.environment import Environment
from medferry.source.changes.engines import install
from medferry.source.gate.engines import gate_of
from medferry.sync.cycle import cycle
from medferry.sync.sweeping import sweep_wave
from medferry.sync.wave import NoSuchWave, synced_wave
from medferry.verification.run import verify_subject
from medferry.workflows.readiness import accept, readiness
from tests import tiny_platform
from tests.sync.conftest import CAPTURE, FREE, load

GATES = """
tables: {patient: unit, weight: unit}
ungated: {clinic: written by nobody here, staff: written by nobody here}
"""
ANSWERS = """
timeline:
  zone: UTC
  waves:
    pilot: {opens: 2020-01-01 00:00:00, closes: 2099-01-01 00:00:00}
    rest: {opens: 2020-01-01 00:00:00, closes: 2099-01-01 00:00:00}
stakeholders: [{name: Ada, role: director, contact: ada@tiny.example, approves: [cutover, rollback]}]
data_required: {domains: {all: [clinic, staff, patient, weight]}, history: All there is., excluded: {}}
downtime: {longest_freeze_minutes: 1}
tools: [{tool: The legacy application, becomes: Medplum's application, done: 2026-01-01}]
training: [{who: Desk, what: Charts, by: 2026-01-01, done: 2026-01-01}]
rollback: {window_days: 14, triggers: [A chart lacks an allergy.]}
legacy_writers: [{who: "", what: The tests, accepted_by: Ada}]
"""


@pytest.fixture
def planned(tiny: Environment, tmp_path: Path) -> Environment:
    """The tiny platform with capture, gates, and every question answered."""
    folder = shutil.copytree(tiny_platform.MIGRATION, tmp_path / "tiny", ignore=shutil.ignore_patterns("__pycache__"))
    for mapping in (folder / "mappings").glob("*.py"):
        mapping.write_text(mapping.read_text().replace('owner="test",', 'owner="test", status="approved",'))
    (folder / "capture.yaml").write_text(CAPTURE)
    (folder / "gate.yaml").write_text(GATES)
    (folder / "plan.yaml").write_text((folder / "plan.yaml").read_text() + ANSWERS)
    return Environment(load_migration(folder), tiny.settings)


def _write(environment: Environment, *statements: str) -> None:
    with environment.source.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def red(environment: Environment, wave: str = "pilot") -> dict[str, str]:
    return {gate.name: gate.evidence for gate in readiness(environment, wave) if not gate.ok}


def make_ready(environment: Environment) -> None:
    """All that a wave needs before its cutover: loaded, in step, proven, rehearsed, accepted."""
    load(environment, None)
    wave = synced_wave(environment, "pilot")
    install(environment.capture, wave.journal)
    plan, rules = environment.migration.plan, environment.migration.gate
    assert rules
    install(environment.capture, gate_of(environment.capture, plan.unit_ids, rules.gated()))
    sweep_wave(wave, FREE)
    _write(environment, "UPDATE patient SET family = 'Ada B.' WHERE id = 1")
    cycle(wave)
    verify_subject(environment)
    with environment.manifest.begin() as connection:
        record_rehearsal(connection, plan.name, "pilot", Measured(12.0), environment.migration.fingerprint, "Ada")
    accept(environment, "pilot", GateName.SCHEMA, Consent.ACCEPTED, "Ada", "The mappings were read for it.")
    accept(environment, "pilot", GateName.SAFETY, Consent.ACCEPTED, "Ada", "No allergies are kept here.")


def test_before_anything_was_done_nothing_is_green_but_the_plan(planned: Environment) -> None:
    create_manifest(planned.settings.manifest_url)
    green = {gate.name for gate in readiness(planned, "pilot") if gate.ok and not gate.name.startswith("plan: ")}
    assert green == {
        *(GateName.STRATEGY, GateName.ORDER, GateName.WINDOW, GateName.TOOLS, GateName.TRAINING),
        *(GateName.TRANSACTIONS, GateName.SIDE_EFFECTS),
    }
    with pytest.raises(NoSuchWave):
        readiness(planned, "noon")


def _apply(environment: Environment, statement: str) -> None:
    _write(environment, statement)
    cycle(synced_wave(environment, "pilot"))


def _miss(environment: Environment) -> None:
    _write(
        environment, "UPDATE patient SET family = 'Unseen' WHERE id = 1", "DELETE FROM medferry_change WHERE op <> 'F'"
    )
    sweep_wave(synced_wave(environment, "pilot"), FREE)


def _edit_in_medplum(environment: Environment) -> None:
    with environment.medplum() as client:
        patient = next(iter(client.search_all("Patient", [])))
        place = f"Patient/{patient['id']}"
        client.batch([{"resource": patient | {"gender": "other"}, "request": {"method": "PUT", "url": place}}], 100)
    verify_subject(environment)


DAY = "UPDATE decision SET at = '2020-01-01T00:00:00.000Z' WHERE subject LIKE 'rehearsal/%'"
SLOW = "UPDATE verification SET started_at = '2020-01-01T00:00:00.000Z'"
"""So it has taken years, and all was written since."""
PLANTED: dict[str, tuple[set[GateName], Callable[[Environment], None]]] = {
    "a column was added": ({GateName.SCHEMA}, lambda e: _write(e, "ALTER TABLE staff ADD COLUMN licence TEXT")),
    "a gate's trigger is gone": ({GateName.LEGACY_GATES}, lambda e: _write(e, f"DROP TRIGGER {_trigger(e, 'gate')}")),
    "capture's trigger is gone": ({GateName.LAG}, lambda e: _write(e, f"DROP TRIGGER {_trigger(e, 'change')}")),
    "a change waits": (
        {GateName.LAG},
        lambda e: _write(
            e, "UPDATE patient SET sex = sex", "UPDATE medferry_change SET at = '2020-01-01 00:00:00' WHERE op <> 'F'"
        ),
    ),
    "a row is quarantined": (
        {GateName.DEAD_LETTERS},
        lambda e: _apply(e, "UPDATE patient SET born = '1985-02-30' WHERE id = 2"),
    ),
    "a row was changed unseen": ({GateName.SWEEP}, _miss),
    "a stranger writes": (
        {GateName.WRITERS},
        lambda e: _write(e, "UPDATE medferry_change SET who = 'root', application = 'psql'"),
    ),
    "the plan bears no such freeze": ({GateName.FREEZE}, lambda e: _in_manifest(e, SLOW)),
    "the rehearsal is old": ({GateName.REHEARSAL}, lambda e: _in_manifest(e, DAY)),
    "somebody changed a chart in Medplum": ({GateName.VERIFIED, GateName.EXCEPTIONS}, _edit_in_medplum),
}


def _in_manifest(environment: Environment, statement: str) -> None:
    with environment.manifest.begin() as connection:
        connection.exec_driver_sql(statement)


def _trigger(environment: Environment, kind: str) -> str:
    with environment.source.connect() as connection:
        found = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").all()
    return str(next(name for name, sql in found if f"medferry_{kind}" in sql))


def test_green_when_all_is_done_and_red_by_each_planted_fault(planned: Environment, tmp_path: Path) -> None:
    make_ready(planned)
    assert red(planned) == {}
    files = [tmp_path / "legacy.db", tmp_path / "manifest.db"]
    kept = [_copied(path) for path in files]
    for name, (wanted, plant) in PLANTED.items():
        plant(planned)
        assert wanted <= red(planned).keys(), name
        for path, copy in zip(files, kept, strict=True):
            _restore(path, copy)
        assert red(planned) == {}, name


def test_other_files_void_what_was_proven_and_an_answer_does_not(planned: Environment) -> None:
    make_ready(planned)
    plan = planned.migration.folder / "plan.yaml"
    plan.write_text(plan.read_text().replace("window_days: 14", "window_days: 7"))
    assert red(Environment(load_migration(plan.parent), planned.settings)) == {}
    plan.write_text(plan.read_text().replace("max_rejected_share: 0.2\n", "max_rejected_share: 0.1\n"))
    found = red(Environment(load_migration(plan.parent), planned.settings))
    assert found.keys() == {GateName.VERIFIED, GateName.REHEARSAL}


def test_a_wave_goes_first_by_a_person_and_a_person_decides_about_what_there_is(planned: Environment) -> None:
    make_ready(planned)
    folder = str(planned.migration.folder)
    words = ("--by", "Ada", "--reason", "South's staff is trained already.", "-m", folder)
    variables = tiny_platform.variables(planned.settings)

    def medferry(*given: str) -> str:
        return CliRunner().invoke(app, [*given], env=variables | {"COLUMNS": "200"}).output

    assert "wave pilot comes before and is not flipped" in red(planned, "rest")[GateName.ORDER]
    assert "order of rest: accepted by Ada." in medferry("readiness", "accept", "rest", "order", *words)
    assert "dead-letters of rest: accepted" in medferry("readiness", "accept", "rest", "dead-letters", *words)
    told = {gate["name"]: gate for gate in json.loads(medferry("readiness", "rest", "--json", "-m", folder))}
    assert told["order"]["ok"] and told["dead-letters"]["evidence"].startswith("14 of ")
    assert "gates are not ok" in medferry("readiness", "rest", "-m", folder)
    _apply(planned, "UPDATE patient SET family = 'Ida' WHERE id = 8")
    assert GateName.DEAD_LETTERS not in red(planned, "rest")
    _apply(planned, "UPDATE patient SET sex = 'X' WHERE id = 8")
    assert "patient: " in red(planned, "rest")[GateName.DEAD_LETTERS]  # it is not what was accepted
    medferry("readiness", "accept", "rest", "order", "--withdraw", *words)
    assert GateName.ORDER in red(planned, "rest")
    with pytest.raises(OptionError, match="Nobody can accept the gate lag"):
        accept(planned, "rest", GateName.LAG, Consent.ACCEPTED, "Ada", "It will be better.")
    with pytest.raises(OptionError, match="must answer"):
        accept(planned, "rest", GateName.ORDER, Consent.ACCEPTED, " ", "It will be better.")


def test_a_flipped_wave_lets_the_next_one_go(planned: Environment) -> None:
    make_ready(planned)
    plan, rules = planned.migration.plan, planned.migration.gate
    assert rules
    gate = gate_of(planned.capture, plan.unit_ids, rules.gated())
    closed = gate.close(planned.capture, "north", 0, 60, 5)
    assert "north is closed" in red(planned)[GateName.LEGACY_GATES]
    gate.shut(planned.capture, "north", closed.epoch)
    assert GateName.ORDER not in red(planned, "rest")


def _copied(path: Path) -> sqlite3.Connection:
    copy = sqlite3.connect(":memory:")
    with closing(sqlite3.connect(path)) as file:
        file.backup(copy)
    return copy


def _restore(path: Path, copy: sqlite3.Connection) -> None:
    with closing(sqlite3.connect(path)) as file:
        copy.backup(file)
