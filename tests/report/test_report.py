"""The report says what the manifest says, and never says "proven" when it is not."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from medferry.definition.migration import load_migration
from medferry.errors import VerificationFailed
from medferry.governance.register import family_of
from medferry.governance.verdict import require_equal
from medferry.manifest.charts import record_charts
from medferry.manifest.checks import (
    CheckResult,
    CheckStatus,
    FinishedPart,
    VerificationRequest,
    begin_verification,
    finish_verification,
    record_part,
)
from medferry.manifest.exceptions import ExceptionRow, exceptions_of
from medferry.manifest.subject import Subject
from medferry.manifest.throughput import Second, seconds
from medferry.report.reconciliation import Reconciliation, reconcile
from medferry.report.throughput import svg
from medferry.report.write import render_html, write_report
from medferry.runtime.environment import Environment
from medferry.verification.run import verify_run
from medferry.workflows.decide import decide, review
from medferry.workflows.finish import finish_run
from tests.tiny_platform import EXPECTED
from tests.workflows.test_migrate import migrate


@pytest.fixture
def done(tiny: Environment) -> Environment:
    migrate(tiny, "r")
    return tiny


def verdict(tiny: Environment) -> str:
    with tiny.manifest.begin() as connection:
        return reconcile(connection, tiny.migration, "r").verdict


def test_the_json_holds_a_row_for_every_unit_and_entity(done: Environment, tmp_path: Path) -> None:
    written = json.loads(write_report(done, "r", tmp_path / "out").json.read_text())
    assert (written["run"], written["verdict"]) == ("r", "proven")
    assert {(row["unit"], row["entity"]) for row in written["rows"]} == EXPECTED.keys()
    for row in written["rows"]:
        assert row["eligible"] == row["successful"] + row["rejected"] + row["skipped"] + row["quarantined"]
    names = {
        "unit",
        "entity",
        "eligible",
        "successful",
        "rejected",
        "skipped",
        "quarantined",
        "created",
        "updated",
        "unchanged",
    }
    assert names <= written["rows"][0].keys()
    assert {"entity", "reason", "field", "count"} == written["findings"][0].keys()


def test_the_page_is_self_contained_and_leads_with_the_verdict(done: Environment) -> None:
    with done.manifest.begin() as connection:
        page = render_html(reconcile(connection, done.migration, "r"))
    assert "PROVEN" in page
    assert "NOT PROVEN" not in page
    assert "src=" not in page
    assert "<link" not in page
    assert "North clinic" in page
    assert "server-rejected" in page


def test_each_printed_page_can_repeat_the_heads_and_the_statuses_are_words(
    done: Environment,
) -> None:
    with done.manifest.begin() as connection:
        page = render_html(reconcile(connection, done.migration, "r"))
    assert page.count("<table>") == page.count("<thead><tr>") >= 5
    statuses = re.findall(r'class="s-(\w+)">([^<]*)<', page)
    assert statuses and set(statuses) == {("equal", "equal"), ("nothing_compared", "nothing compared")}


def plant(done: Environment, fault: str) -> None:
    """One corruption of Medplum or the manifest behind Medferry's back."""
    system = done.migration.naming.system("patient")
    with done.medplum() as client:
        [one, *_] = client.search_all("Patient", [("identifier", f"{system}|1")])
        [weight, *_] = client.search_all("Observation", [("subject", f"Patient/{one['id']}")])
        entry = {
            "deleted": {"request": {"method": "DELETE", "url": f"Observation/{weight['id']}"}},
            "changed": {
                "resource": {**one, "birthDate": "1970-02-04"},
                "request": {"method": "PUT", "url": f"Patient/{one['id']}"},
            },
            "doubled": {
                "resource": {name: value for name, value in one.items() if name != "id"},
                "request": {"method": "POST", "url": "Patient"},
            },
            "unexpected": {
                "resource": {**one, "identifier": [{"system": system, "value": "4711"}]},
                "request": {"method": "POST", "url": "Patient"},
            },
            "dangling": {
                "resource": {**weight, "subject": {"reference": "Patient/00000000-0000-4000-8000-000000000000"}},
                "request": {"method": "PUT", "url": f"Observation/{weight['id']}"},
            },
        }[fault]
        assert client.batch([entry], 100)[0].status in (200, 201)


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("deleted", "identifiers: missing in Medplum"),
        ("changed", "versions: changed since the load"),
        ("doubled", "identifiers: more than once"),
        ("unexpected", "identifiers: unexpected in Medplum"),
        ("dangling", "references resolve"),
    ],
)
def test_verification_finds_what_was_planted_in_medplum(done: Environment, fault: str, check: str) -> None:
    require_equal(verify_run(done, "r"))
    plant(done, fault)
    results = verify_run(done, "r")
    found = [result for result in results if result.name == check and result.status == "different"]
    assert len(found) == 1
    assert found[0].different == 1
    assert found[0].examples
    assert verdict(done) == "not proven"
    with pytest.raises(VerificationFailed, match=check):
        finish_run(done, "r")


@pytest.mark.parametrize(
    ("statement", "check"),
    [
        ("DELETE FROM source_unit WHERE entity = 'weight' AND key = '8'", "accounting"),
        ("UPDATE source_unit SET disposition = 'pending' WHERE entity = 'weight' AND key = '8'", "accounting"),
        ("UPDATE source_unit SET unit = 'south' WHERE entity = 'weight' AND key = '8'", "source count"),
        ("DELETE FROM target WHERE entity = 'weight' AND value = '8'", "identifiers: unexpected in Medplum"),
        ("UPDATE source_unit SET disposition = 'quarantined'", "acceptance: quarantined"),
        ("UPDATE source_unit SET disposition = 'rejected'", "acceptance: rejected"),
    ],
)
def test_verification_finds_what_was_planted_in_the_manifest(done: Environment, statement: str, check: str) -> None:
    with done.manifest.begin() as connection:
        connection.exec_driver_sql(statement)
    different = {result.name for result in verify_run(done, "r") if result.status == "different"}
    assert check in different


def test_a_row_that_appears_in_the_source_meanwhile_is_seen(done: Environment) -> None:
    with done.source.begin() as connection:
        connection.exec_driver_sql("INSERT INTO staff VALUES (99, 1, 'New')")
    assert {(r.name, r.entity) for r in verify_run(done, "r") if r.status == "different"} == {
        ("source count", "staff"),
        ("source keys", "staff"),
    }


@pytest.mark.parametrize(
    "statement", ["DELETE FROM patient WHERE id = 1", "UPDATE patient SET deleted_at = '2024-06-01' WHERE id = 1"]
)
def test_a_row_that_is_gone_since_an_earlier_run_is_seen(done: Environment, statement: str) -> None:
    with done.source.begin() as connection:
        connection.exec_driver_sql("DELETE FROM weight")
        connection.exec_driver_sql(statement)
    with pytest.raises(VerificationFailed, match="now gone from the source of patient"):
        migrate(done, "second")
    with done.manifest.begin() as connection:
        checks = reconcile(connection, done.migration, "second").checks
    gone = {c.entity: c.different for c in checks if c.name.startswith("loaded before") and c.different}
    assert gone == {"patient": 1, "weight": 30}


def test_what_could_not_be_checked_is_never_green(done: Environment) -> None:
    done.source.dispose()
    with done.source.begin() as connection:
        connection.exec_driver_sql("DROP TABLE staff")
    results = verify_run(done, "r")
    silent = {(r.name, r.entity) for r in results if r.status == "could_not_check"}
    assert silent >= {("source count", "staff"), ("source keys", "staff"), ("value: main/family", "staff")}
    assert {entity for _, entity in silent} == {"staff"}
    with pytest.raises(VerificationFailed, match="could_not_check"):
        require_equal(results)


def record(done: Environment, results: list[CheckResult], finished: bool = True) -> None:
    """Replace the run's verification by one with these results."""
    with done.manifest.begin() as connection:
        request = VerificationRequest("tiny", "r", Subject(), 1.0, 0, False, done.migration.fingerprint, {})
        verification_id, _ = begin_verification(connection, request, force=True)
        record_part(connection, verification_id, FinishedPart("run", "2026-01-01", "2026-01-01", 0, 0), results)
        if finished:
            finish_verification(connection, verification_id)


@pytest.mark.parametrize(
    ("results", "finished"), [([], True), ([CheckResult("a", "b", "equal", 1)], False)], ids=["none", "it died"]
)
def test_a_run_without_a_finished_verification_is_not_proven(
    done: Environment, results: list[CheckResult], finished: bool
) -> None:
    record(done, results, finished)
    assert verdict(done) == "not verified"
    with pytest.raises(VerificationFailed, match="was not verified"):
        finish_run(done, "r")


def test_one_check_that_differs_decides_the_verdict(done: Environment) -> None:
    equal = CheckResult("a", "b", "equal", 1)
    record(done, [equal, CheckResult("c", "d", "could_not_check", 0, examples=["x"])])
    with done.manifest.begin() as connection:
        page = render_html(reconcile(connection, done.migration, "r"))
    assert "NOT PROVEN" in page
    statuses = re.findall(r'class="s-(\w+)">([^<]*)<', page)
    assert set(statuses) == {("equal", "equal"), ("could_not_check", "could not check")}


def page_of(done: Environment) -> str:
    with done.manifest.begin() as connection:
        return render_html(reconcile(connection, done.migration, "r"))


def test_exceptions_lead_what_a_person_must_decide_and_accepted_ones_name_their_approver(done: Environment) -> None:
    plant(done, "changed")
    verify_run(done, "r")
    page = page_of(done)
    decide_at = page.index("For a person to decide")
    assert page.index("NOT PROVEN") < decide_at < page.index("Open exceptions") < page.index("Dead letters")
    assert page.index("Dead letters") < page.index("<h2>By unit")
    assert "1970-02" not in page
    with done.manifest.begin() as connection:
        found = exceptions_of(connection, "r")
    for one in found:
        decide(done, one.id, "accepted", "Dr. Osei", action="corrected <by hand>")
    page = page_of(done)
    assert f"PROVEN, WITH {len(found)} ACCEPTED EXCEPTIONS" in page
    assert "<b>PROVEN</b>" not in page
    assert "Open exceptions" not in page
    assert page.count("by Dr. Osei") == len(found) > 1
    assert "corrected &lt;by hand&gt;" in page


def test_charts_are_counted_by_outcome_and_a_differing_one_stands_first(done: Environment) -> None:
    with done.manifest.begin() as connection:
        record_charts(connection, "r", "patient", 3, [("1", "given"), ("2", "random, seed 3"), ("8", "given")])
    for key, outcome in (("1", "agrees"), ("2", "differs")):
        review(done, "r", key, "Dr. Haug", outcome, "the order of the problems")
    page = page_of(done)
    assert "3 drawn, 1 agree, 1 differ, 1 not yet reviewed" in page
    assert "NOT PROVEN" in page
    assert "1 charts differ, by their reviewers" in page
    assert page.index("the order of the problems") < page.index("<h2>By unit")


def test_the_throughput_counts_every_attempt(done: Environment) -> None:
    with done.manifest.begin() as connection:
        found = seconds(connection, "r")
        sent = connection.exec_driver_sql("SELECT COUNT(*), SUM(status BETWEEN 200 AND 299) FROM attempt").one()
    assert (sum(one.done + one.failed for one in found), sum(one.done for one in found)) == tuple(sent)
    assert "<svg" in page_of(done)
    assert svg([]) == ""


def test_a_long_load_is_drawn_as_rates_in_at_most_120_bars() -> None:
    start = datetime.fromisoformat("2026-01-01T23:00:00")
    day = [Second((start + timedelta(seconds=10 * n)).isoformat(), 20, n % 2) for n in range(1000)]
    drawn = svg(day)
    assert 200 < drawn.count("<rect") <= 240
    assert "2/s" in drawn
    assert "2026-01-01 23:00:00 UTC" in drawn


def test_the_evidence_tells_how_it_was_verified_and_every_check_is_there(done: Environment) -> None:
    page, written = page_of(done), reconciled(done)
    assert "every row, seed 0" in page
    assert written.versions.keys() == done.migration.entities.keys()
    assert all(f"{name} {version}" in page for name, version in written.versions.items())
    assert page.count('<details class="check">') == 2 + len({family_of(one.name) for one in written.checks})
    assert len(written.parts) == 2 * len(done.migration.entities) + 3
    assert {part["part"] for part in written.as_json()["parts"]} == {part.part for part in written.parts}


def reconciled(done: Environment) -> Reconciliation:
    with done.manifest.begin() as connection:
        return reconcile(connection, done.migration, "r")


def test_a_sample_is_told_with_what_it_did_not_see(done: Environment) -> None:
    with done.manifest.begin() as connection:
        content = reconcile(connection, done.migration, "r")
    sampled = replace(content, outcome=replace(content.outcome, sample_share=0.25))
    page = render_html(sampled)
    assert "PROVEN BY A SAMPLE OF 25.000%" in page
    assert "compared on a sample of the rows" in page
    hidden = ExceptionRow(1, "r", None, "value", "patient", "values", "critical", 1, 0, 1, "x", None, "open", *[""] * 5)
    page = render_html(replace(sampled, outcome=replace(sampled.outcome, exceptions=[hidden])))
    assert "NOT PROVEN" in page
    assert "1 exceptions are open that this sample did not see" in page


def test_the_plan_s_questions_and_answers_are_shown_as_they_are_written(done: Environment) -> None:
    with done.manifest.begin() as connection:
        content = reconcile(connection, done.migration, "r")
        clinics = reconcile(connection, load_migration("clinics"), "r")
    assert clinics.as_json()["answers"] == load_migration("clinics").plan.answers != {}
    assert content.as_json()["answers"] == {}
    assert "What was planned" not in render_html(content)
    page = render_html(replace(content, answers={"Who decides?": "The group's <medical> director & her deputy."}))
    assert "<td>Who decides?</td><td>The group&#39;s &lt;medical&gt; director &amp; her deputy.</td>" in page


def test_signs_that_a_page_obeys_stand_as_their_escapes(done: Environment) -> None:
    with done.manifest.begin() as connection:
        content = reconcile(connection, done.migration, "r")
    key = "4\x1b[31m\x00\x9b\u202e7<b>"
    reason = replace(content.reasons[0], keys=[key, "8"])
    [check, *_] = [one for one in content.checks if one.entity == "patient"]
    check = replace(check, status=CheckStatus.DIFFERENT, different=1, examples=[f"{key} birthDate differs"])
    page = render_html(replace(content, reasons=[reason], outcome=replace(content.outcome, results=[check])))
    shown = r"4\x1b[31m\x00\x9b\u202e7&lt;b&gt;"
    assert f"<code>{shown}, 8</code>" in page and f"{shown} birthDate differs" in page
    assert re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", page) is None
