"""Dead letters and histories over several runs, on both engines of the manifest."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from medferry.manifest import dead_letters as module
from medferry.manifest.crosswalk import Attempt, record_attempts
from medferry.manifest.dead_letters import Choice, DeadLetterGroup, dead_letter_groups, dead_letters
from medferry.manifest.history import history
from medferry.manifest.runs import RunRow, add_run
from medferry.manifest.source_records import SourceRecord, write_records
from medferry.manifest.tables import source_record

ALL = Choice()
SYSTEMS = {"patient": ["s/patient", "s/patient/extra"], "visit": ["s/visit"]}


def begin_run(connection: sa.Connection, run_id: str, second: int, migration: str = "m", dry_run: bool = False) -> None:
    at = f"2026-01-01T00:00:{second:02}.000Z"
    options = {"dry_run": dry_run}
    add_run(connection, RunRow(run_id, migration, "run", "failed", ["u"], ["patient"], options, "f", at, None), [])


def line(entity: str, key: str, disposition: str, reason: str = "", version: str = "1") -> SourceRecord:
    return SourceRecord(entity, key, "u", f"{entity}-0", disposition, version, reason, "column", "a place")


@pytest.fixture
def first(manifest: sa.Engine) -> sa.Engine:
    with manifest.begin() as connection:
        begin_run(connection, "first", 1)
        units = [
            line("patient", "1", "successful"),
            line("patient", "2", "rejected", "server-rejected"),
            line("patient", "3", "quarantined", "impossible-date"),
            line("patient", "4", "skipped", "soft-deleted"),
            line("visit", "1", "quarantined", "unresolved-reference"),
            line("visit", "2", "quarantined", "unresolved-reference"),
            line("visit", "3", "pending"),
        ]
        write_records(connection, "first", units, [])
        sent = [Attempt("s/patient", "2", "create", 503), Attempt("s/patient/extra", "2", "create", 400)]
        others = [Attempt("s/visit", "2", "create", 201), Attempt("s/patient", "22", "create", 201)]
        record_attempts(connection, "first", "patient-0", sent + others)
    return manifest


def letters(manifest: sa.Engine, choice: Choice = ALL) -> dict[tuple[str, str], tuple[str, str]]:
    found = list(dead_letters(manifest, "m", SYSTEMS, "first", choice))
    assert [(one.entity, one.key) for one in found] == sorted((one.entity, one.key) for one in found)
    return {(one.entity, one.key): (one.now, one.now_run) for one in found}


def test_they_are_the_rejected_and_the_quarantined_with_all_that_is_known(first: sa.Engine) -> None:
    assert letters(first).keys() == {("patient", "2"), ("patient", "3"), ("visit", "1"), ("visit", "2")}
    [one] = dead_letters(first, "m", SYSTEMS, "first", Choice(reasons=["server-rejected"]))
    assert (one.unit, one.disposition, one.reason, one.field) == ("u", "rejected", "server-rejected", "column")
    assert (one.place, one.mapping_version, one.attempts) == ("a place", "1", 2)
    with first.begin() as connection:
        assert dead_letter_groups(connection, "m", "first") == [
            DeadLetterGroup("visit", "quarantined", "unresolved-reference", 2, 0),
            DeadLetterGroup("patient", "quarantined", "impossible-date", 1, 0),
            DeadLetterGroup("patient", "rejected", "server-rejected", 1, 0),
        ]


@pytest.mark.parametrize(
    ("choice", "found"),
    [
        (Choice(entities=["visit"]), {("visit", "1"), ("visit", "2")}),
        (Choice(reasons=["impossible-date", "server-rejected"]), {("patient", "2"), ("patient", "3")}),
        (Choice(dispositions=["rejected"]), {("patient", "2")}),
        (Choice(dispositions=["successful"]), set()),
        (Choice(entities=["visit"], reasons=["impossible-date"]), set()),
    ],
)
def test_a_choice_narrows_them(first: sa.Engine, choice: Choice, found: set[tuple[str, str]]) -> None:
    assert letters(first, choice).keys() == found


def test_what_is_true_now_comes_from_the_newest_real_run_that_decided(first: sa.Engine) -> None:
    with first.begin() as connection:
        begin_run(connection, "second", 2)
        again = [line("patient", "2", "successful"), line("patient", "3", "skipped"), line("visit", "1", "rejected")]
        write_records(connection, "second", again, [])
        begin_run(connection, "killed", 3)
        write_records(connection, "killed", [line("patient", "2", "pending")], [])
        begin_run(connection, "dry", 4, dry_run=True)
        write_records(connection, "dry", [line("visit", "2", "skipped")], [])
        begin_run(connection, "foreign", 5, migration="another")
        write_records(connection, "foreign", [line("visit", "1", "successful")], [])
    assert letters(first) == {
        ("patient", "2"): ("successful", "second"),
        ("patient", "3"): ("skipped", "second"),
        ("visit", "1"): ("rejected", "second"),
        ("visit", "2"): ("quarantined", "first"),
    }
    assert letters(first, Choice(still=True)).keys() == {("visit", "1"), ("visit", "2")}
    with first.begin() as connection:
        assert {(g.entity, g.reason): (g.count, g.settled) for g in dead_letter_groups(connection, "m", "first")} == {
            ("visit", "unresolved-reference"): (2, 0),
            ("patient", "impossible-date"): (1, 1),
            ("patient", "server-rejected"): (1, 1),
        }


def test_pages_leave_out_and_repeat_nothing(first: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with first.begin() as connection:
        write_records(connection, "first", [line("visit", str(n), "rejected", "x") for n in range(100, 200)], [])
    whole = letters(first)
    monkeypatch.setattr(module, "_PAGE", 7)
    assert letters(first) == whole
    assert len(whole) == 104


def test_the_list_is_served_by_an_index_that_holds_dead_letters_only(first: sa.Engine) -> None:
    if first.dialect.name != "sqlite":
        pytest.skip("the plan of a small table says nothing in PostgreSQL")
    statement = module._statement("m", ["s"], "first", "visit", Choice()).order_by(source_record.c.key).limit(10)
    compiled = statement.compile(first, compile_kwargs={"render_postcompile": True, "literal_binds": True})
    with first.begin() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}").all()
    assert any("source_unit_dead" in str(step) for step in plan), plan


def test_the_history_of_a_unit_goes_over_all_runs(first: sa.Engine) -> None:
    with first.begin() as connection:
        begin_run(connection, "second", 2)
        write_records(connection, "second", [line("patient", "2", "successful", version="2")], [])
        record_attempts(connection, "second", "patient-0", [Attempt("s/patient", "2", "create", 201)])
        begin_run(connection, "foreign", 3, migration="another")
        write_records(connection, "foreign", [line("patient", "2", "successful")], [])
        found = history(connection, "m", SYSTEMS["patient"], "patient", "2")
        assert history(connection, "m", SYSTEMS["patient"], "patient", "99") == []
    told = [(one.run_id, one.disposition, one.reason, one.mapping_version) for one in found]
    assert told == [("first", "rejected", "server-rejected", "1"), ("second", "successful", "", "2")]
    sent = [[(entry.system, entry.action, entry.status) for entry in one.attempts] for one in found]
    assert sent[0] == [("s/patient", "create", 503), ("s/patient/extra", "create", 400)]
    assert sent[1] == [("s/patient", "create", 201)]
