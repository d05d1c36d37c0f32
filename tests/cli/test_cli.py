"""The command line as a mapping author and an operator use it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa

from medferry.manifest import runs
from medferry.runtime.environment import Environment
from medferry.runtime.options import RunOptions
from medferry.stages.prepare import prepare_run, scope_of
from tests.tiny_platform import MIGRATION, RESOURCES


def test_plan_check_shows_levels_and_counts_the_source(medferry) -> None:
    shown = medferry("plan", "check").output
    assert "Tiny test platform" in shown
    assert "wave pilot" in shown
    assert "40" in shown


def test_a_broken_definition_is_two_lines_and_exit_1(medferry, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    result = medferry("plan", "check", "-m", str(tmp_path / "broken"), code=1)
    assert "DefinitionError" in result.stderr
    assert "Traceback" not in result.output


def test_what_the_database_refuses_of_several_entities_is_told_at_once(medferry, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(MIGRATION, tmp_path / "refused"))
    columns = {"entities/patient.sql": "deleted_at", "entities/weight.sql": "kg", "checks/staff.yaml": "s.id"}
    for name, column in columns.items():
        text = (copy / name).read_text(encoding="utf-8")
        assert column in text
        (copy / name).write_text(text.replace(column, f"{column}_mistyped"), encoding="utf-8")
    told = "".join(medferry("plan", "check", "-m", str(copy), code=1).stderr.split())
    assert "patient.sql:3" in told and "weight.sql:5" in told and "staff.yaml:1" in told and "these3places" in told


def test_profile_hides_values_unless_asked(medferry) -> None:
    assert "Ada" not in medferry("source", "profile", "patient").output
    assert "Ada" in medferry("source", "profile", "patient", "--values").output


def test_run_verify_report_and_runs(medferry, tmp_path: Path) -> None:
    shown = medferry("run").output
    assert "proven" in shown
    [report] = (tmp_path / "build/reports").glob("*/reconciliation.json")
    assert sum(row["created"] for row in json.loads(report.read_text())["rows"]) == RESOURCES
    shown = medferry("verify", report.parent.name).output
    assert "equal" in shown and "reconciliation.html" in shown
    assert "content: as written" in shown
    assert "equal" in medferry("verify", report.parent.name, "--sample-share", "0.5", "--anew").output
    assert "succeeded" in medferry("runs").output
    assert "reconciliation.html" in medferry("report", "--folder", str(tmp_path / "again")).output
    assert f"{RESOURCES}" in medferry("run").output


def test_a_subject_is_verified_without_a_run(medferry, tiny: Environment) -> None:
    medferry("run", "--wave", "pilot")
    medferry("run", "--wave", "rest")
    assert "verification 3: proven" in medferry("verify").output
    shown = medferry("verify", "--unit", "north", "--unit", "shared", "--entity", "weight").output
    assert "verification 4: proven" in shown and "clinic" not in shown
    assert "verification 5: proven" in medferry("verify", "--entity", "weight", "--key", "0", "--key", "3").output
    assert "Name it with --entity" in medferry("verify", "--key", "0", code=1).stderr
    assert "There is no unit east" in medferry("verify", "--unit", "east", code=1).stderr
    assert "A run has its own units" in medferry("verify", "r", "--unit", "north", code=1).stderr
    with tiny.manifest.begin() as connection:
        connection.exec_driver_sql("UPDATE target SET content_hash = '' WHERE entity = 'weight' AND value = '0'")
    assert "--verification 6" in medferry("verify", code=1).stderr
    assert "verification 6: not proven" in medferry("exceptions", "--verification", "6", code=1).output
    decision = ("--decision", "accepted", "--approver", "Dr. Osei", "--action", "none")
    assert "verification 6: proven, with 1" in medferry("exceptions", "decide", "1", *decision).output
    assert "verification 6: proven" in medferry("exceptions", "list", "--verification", "6").output


def test_dead_letters_and_the_history_of_one(medferry) -> None:
    assert "to decide: medferry dead-letters" in medferry("run").output
    shown = medferry("dead-letters", "--limit", "3").output
    assert "unresolved-reference" in shown
    assert "3 of 14" in shown
    one = json.loads(medferry("dead-letters", "--reason", "server-rejected", "--json").stdout)
    assert one["groups"] == [
        {"entity": "patient", "disposition": "rejected", "reason": "server-rejected", "count": 1, "settled": 0}
    ]
    [letter] = one["dead_letters"]
    assert (letter["key"], letter["attempts"], letter["now"]) == ("6", 1, "rejected")
    assert len(json.loads(medferry("dead-letters", "--json", "--limit", "0").stdout)["dead_letters"]) == 14
    assert "No dead letters" in medferry("dead-letters", "--entity", "clinic").output
    assert "no run nowhere" in medferry("dead-letters", "nowhere", code=1).stderr
    report_errors = medferry("history", "patient", "6").output
    assert "create patient" in report_errors and "400" in report_errors and "server-rejected" in report_errors
    assert "has met a source record patient 77" in medferry("history", "patient", "77", code=1).stderr


def test_replay_after_a_correction(medferry, tiny: Environment) -> None:
    medferry("run")
    first = json.loads(medferry("dead-letters", "--json").stdout)["run"]
    with tiny.source.begin() as connection:
        connection.exec_driver_sql("UPDATE patient SET born = '1985-02-28' WHERE id = 4")
    assert "ready" in medferry("replay", first, "--dry-run").output
    assert "proven" in medferry("replay", first, "--reason", "impossible-date").output
    assert "Nothing to replay" in medferry("replay", first, "--reason", "impossible-date").output
    assert "successful" in medferry("dead-letters", first, "--reason", "impossible-date").output
    assert medferry("runs").output.count(" replay ") == 2
    assert "proven" in medferry("replay", "--entity", "weight").output  # the first run's: a later one has none
    assert "Nothing to replay" in medferry("replay", first, "--entity", "weight").output
    report_errors = medferry("history", "weight", "2").output
    assert report_errors.index("quarantined") < report_errors.index("successful")
    assert "no run nowhere" in medferry("replay", "nowhere", code=1).stderr


def test_a_dry_run_is_marked_and_is_never_the_newest(medferry, tmp_path: Path) -> None:
    medferry("run", "--wave", "pilot", "--dry-run")
    assert "dry run" in medferry("runs").output
    for command in (("report",), ("dead-letters",), ("exceptions",), ("replay",)):
        assert "There is no run yet that was to write" in medferry(*command, code=1).stderr
    [dry] = (tmp_path / "build/reports").glob("*/reconciliation.json")
    assert json.loads(dry.read_text())["dry_run"] is True
    page = dry.with_suffix(".html").read_text()
    assert "<h1>Dry run: Tiny" in page and "dry: nothing was written" in page and ">Ready</th>" in page
    medferry("run", "--wave", "pilot")
    real = json.loads(medferry("dead-letters", "--json").stdout)["run"]
    medferry("run", "--wave", "pilot", "--dry-run")
    assert json.loads(medferry("dead-letters", "--json").stdout)["run"] == real
    assert f"{real}/reconciliation.html" in "".join(medferry("report").output.split())


def test_wishes_for_a_run_at_work_and_for_one_that_is_over(medferry, tiny: Environment) -> None:
    prepare_run(tiny, "r", "run", scope_of(tiny.migration, None, None), RunOptions())
    assert "pauses" in medferry("pause", "r").output
    assert "paused" in medferry("runs").output
    assert "r goes on" in medferry("resume").output  # the only one at work
    assert "r ends" in medferry("abort").output
    told = medferry("pause", code=1).stderr  # a lease may live on for a while
    assert "No run is at work" in told or "is being aborted" in told
    assert "RunAborted" in medferry("run", "--resume", "r", code=1).stderr
    assert "aborted" in medferry("runs").output
    assert "is over (aborted)" in medferry("pause", "r", code=1).stderr


def test_a_wave_and_a_dry_run(medferry) -> None:
    shown = medferry("run", "--wave", "pilot", "--dry-run", "--sample", "1").output
    assert "ready" in shown and "pending" not in shown
    [listed] = json.loads(medferry("runs", "--json").stdout)
    assert (listed["kind"], listed["dry_run"], listed["verdict"]) == ("wave_pilot", True, "dry run")
    assert listed["run"] in medferry("runs").output  # whole
    assert "has no wave nowhere" in medferry("run", "--wave", "nowhere", code=1).stderr
    assert "knows no east" in medferry("run", "--unit", "east", code=1).stderr
    assert "for a dry run" in medferry("run", "--sample", "1", code=1).stderr


@pytest.mark.parametrize("command", [["runs"], ["report"], ["verify"], ["run", "--resume", "r"]], ids=" ".join)
def test_a_mistyped_manifest_is_told_and_not_made(
    command: list[str], medferry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MEDFERRY_MANIFEST_URL", f"sqlite:///{tmp_path}/typo.db")
    report_errors = medferry(*command, code=1).stderr.replace("\n", " ")
    assert "There is no manifest" in report_errors and "Correct MEDFERRY_MANIFEST_URL" in report_errors
    assert not (tmp_path / "typo.db").exists()


def test_only_a_run_that_is_known_can_go_on(medferry, tiny: Environment) -> None:
    medferry("run", "--dry-run")
    with tiny.manifest.begin() as connection:
        [known] = runs.list_runs(connection, "tiny", 10)
    medferry("run", "--dry-run", "--resume", known.id)
    with tiny.manifest.begin() as connection:
        assert [run.id for run in runs.list_runs(connection, "tiny", 10)] == [known.id]
    assert "The manifest has no run typo" in medferry("run", "--resume", "typo", code=1).stderr


def test_a_resumed_run_keeps_its_own_scope_and_options(medferry, tiny: Environment) -> None:
    medferry("run", "--dry-run", "--wave", "pilot", "--slice-rows", "7")
    with tiny.manifest.begin() as connection:
        [known] = runs.list_runs(connection, "tiny", 10)
    assert "dry run" in medferry("run", "--resume", known.id).output
    assert "dry run: nothing was written" in medferry("verify", known.id).output
    medferry("run", "--resume", known.id, "--wave", "pilot", "--slice-rows", "7")
    refused = " ".join(medferry("run", "--resume", known.id, "--slice-rows", "8", code=1).stderr.split())
    assert "OtherOptions" in refused and "slice_rows = 7; slice_rows = 8 was given" in refused
    assert "OtherScope" in medferry("run", "--resume", known.id, "--unit", "south", code=1).stderr
    assert "OtherScope" in medferry("replay", "--resume", known.id, "--entity", "weight", code=1).stderr
    assert "no run typo" in medferry("replay", "--resume", "typo", code=1).stderr
    with tiny.medplum() as client:
        assert client.count("Patient") == 0


def test_a_full_manifest_is_told_with_its_remedy(medferry, tiny: Environment, tmp_path: Path) -> None:
    medferry("run", "--dry-run")
    sa.event.listen(tiny.manifest, "begin", lambda c: c.exec_driver_sql("PRAGMA max_page_count = 1"))
    report_errors = medferry("run", code=1).stderr.replace("\n", " ")
    assert "ManifestUnavailable" in report_errors and "SQLITE_FULL" in report_errors and "has space" in report_errors
    assert "Traceback" not in report_errors


def test_a_missing_setting_is_named(medferry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDFERRY_SOURCE_URL")
    assert "MEDFERRY_SOURCE_URL is not set" in medferry("run", code=1).stderr
