"""A wave that is over is taken down: only then, with proof, again where it died, and with evidence that is signed."""

from __future__ import annotations

import base64
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from medferry.cli import retire as command
from medferry.cli.main import app
from medferry.manifest.decisions import decisions_of
from medferry.manifest.purges import PurgeReason, purges_of
from medferry.manifest.retirements import Retirement, record_retirement
from medferry.manifest.subject import Subject
from medferry.plan.model import Plan
from medferry.runtime.environment import Environment
from medferry.source.changes.journal import CHANGE
from medferry.source.gate.gate import GATE
from medferry.store.evidence import digest_of_archive, verify_evidence
from medferry.verification.run import verify_subject
from medferry.workflows import retire as workflow
from medferry.workflows.cutover import Otherwise, cut_over, roll_back
from medferry.workflows.retire import NotOver, reasons, retire
from tests.cutover.conftest import Clinic, captured, clinic, loaded, wave, write
from tests.cutover.test_switch import choice

__all__ = ["captured", "clinic", "loaded", "wave", "write"]
WINDOW = {"window_days": 14, "triggers": ["A chart lacks an allergy."]}
WIDE = {"COLUMNS": "300"}


@pytest.fixture
def flipped(clinic: Clinic, tmp_path: Path) -> Environment:
    """North is in Medplum, with a change that a run of its own wave has staged."""
    migration, settings = clinic.environment.migration, clinic.environment.settings
    (tmp_path / "key").write_text(base64.b64encode(b"k" * 32).decode())
    plan = Plan.model_validate(migration.plan.model_dump(exclude_unset=True) | {"rollback": WINDOW})
    made = Environment(replace(migration, plan=plan), replace(settings, evidence_key_file=f"{tmp_path}/key"))
    clinic.environment = made
    with made.source.begin() as connection:
        connection.exec_driver_sql("UPDATE patient SET family = 'Adair' WHERE id = 1")
    cut_over(made, "pilot", choice())
    return made


def _long_ago(environment: Environment) -> None:
    with environment.manifest.begin() as connection:
        connection.exec_driver_sql("UPDATE cutover SET ended_at = '2020-01-01T00:00:00.000Z'")


def _over(environment: Environment) -> None:
    """It was flipped years ago, and all of it is proven."""
    _long_ago(environment)
    verify_subject(environment, Subject(units=("north", "shared")))


def _tables(environment: Environment) -> set[str]:
    return {*sa.inspect(environment.source).get_table_names()}


def _triggers(environment: Environment) -> list[str]:
    with environment.source.connect() as connection:
        rows = connection.execute(sa.text("SELECT sql FROM sqlite_master WHERE type = 'trigger'"))
        return [str(sql) for (sql,) in rows]


def _folders(environment: Environment) -> set[str]:
    return {folder.name for folder in environment.staging_area.folders()}


def _content(archive: Path) -> dict[str, Any]:
    with zipfile.ZipFile(archive) as opened:
        names = opened.namelist()
        return {name: json.loads(opened.read(name)) if name.endswith(".json") else name for name in names}


def test_what_is_not_over_is_refused_by_name_and_nothing_is_removed(
    flipped: Environment, clinic: Clinic, tmp_path: Path
) -> None:
    staged = _folders(flipped)
    assert "its rollback window runs for 14.0 days more" in reasons(flipped, "pilot")
    _long_ago(flipped)
    _over(flipped)
    assert reasons(flipped, "pilot") == []
    system = flipped.migration.naming.system("patient")
    [ada] = clinic.user.search_all("Patient", [("identifier", f"{system}|1")])
    entry = {"resource": {**ada, "gender": "other"}, "request": {"method": "PUT", "url": f"Patient/{ada['id']}"}}
    assert clinic.user.batch([entry], 100)[0].status == 200
    verify_subject(flipped, Subject(units=("north", "shared")), force=True)
    with pytest.raises(NotOver, match="is not over: exceptions"):  # what was planted
        retire(flipped, "pilot", "Ada", str(tmp_path))
    assert reasons(flipped, "rest") == ["south is written in both", "it was never flipped"]
    assert _folders(flipped) == staged and not list(tmp_path.glob("*.zip"))


def test_it_is_taken_down_with_proof_and_the_journal_stays_for_the_others(
    flipped: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _over(flipped)
    monkeypatch.setattr(command, "environment_of", lambda _: flipped)
    told = CliRunner().invoke(app, ["retire", "pilot", "--dry-run"], env=WIDE)
    assert told.exit_code == 0 and "would be removed" in told.output and "rest still need(s) them" in told.output
    before, given = _folders(flipped), ["retire", "pilot", "--by", "Ada", "--evidence", str(tmp_path / "evidence")]
    done = CliRunner().invoke(app, given, env=WIDE)
    assert done.exit_code == 0, done.output
    gone = before - _folders(flipped)
    with flipped.manifest.begin() as connection:
        lines = [line for line in purges_of(connection, "tiny", 100) if line.reason == PurgeReason.RETIRED]
        first, last = decisions_of(connection, "retire/tiny/pilot")
    assert gone and {line.folder for line in lines} == gone and all(line.done_at for line in lines)
    assert gone < before, "a run of all units is needed by the wave that is not over"
    archive = tmp_path / "evidence" / "tiny-pilot.zip"
    assert [one.decision.verdict for one in (first, last)] == [Retirement.RETIRING, Retirement.RETIRED]
    fingerprint, members = verify_evidence(archive)
    assert last.digest == digest_of_archive(archive)
    assert fingerprint in last.decision.note and fingerprint in done.output
    content = _content(archive)
    assert {*members} == {*content} - {"DIGESTS.json", "SIGNATURE", "PUBLIC_KEY"}
    assert {"entity": "patient", "unit": "north", "disposition": "successful", "records": 2} in content["counts.json"]
    assert content["cutovers.json"][0]["acts"] and content["verdicts.json"][0]["passed"]
    assert {one["folder"] for one in content["removals.json"]} == gone
    assert CHANGE in _tables(flipped)
    with pytest.raises(Otherwise, match="cannot be rolled back"):
        roll_back(flipped, "pilot", choice())


def test_with_the_last_wave_the_journal_goes_and_what_died_in_between_goes_on(
    flipped: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _over(flipped)
    with flipped.manifest.begin() as connection:
        record_retirement(connection, "tiny", "rest", Retirement.RETIRED, "", "Ada", "")
    monkeypatch.setattr(workflow, "_units", lambda *_: ["north"])  # no user of the shared unit has a policy here

    def die(*_: Any) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(workflow, "write_evidence", die)
        with pytest.raises(KeyboardInterrupt):
            retire(flipped, "pilot", "Ada", str(tmp_path))
    assert CHANGE not in _tables(flipped) and GATE in _tables(flipped)
    assert _folders(flipped) == set()
    assert _triggers(flipped) and not any(CHANGE in sql for sql in _triggers(flipped))
    found = retire(flipped, "pilot", "Ada", str(tmp_path))
    assert found.statements == [] and Path(found.archive).is_file()
    again = retire(flipped, "pilot", "Ada", str(tmp_path))
    assert verify_evidence(Path(again.archive), found.signed_by)
    stored = retire(flipped, "pilot", "Ada", "memory://account:secret@retired/waves")
    assert (stored.archive, stored.signed_by) == ("memory://retired/waves/tiny-pilot.zip", found.signed_by)
    text = " ".join(found.left_to_do)
    assert flipped.settings.medplum_client_id in text and flipped.settings.medplum_client_secret not in text
