"""A manifest of any earlier revision is brought to the newest with all that it holds; one that is newer is refused."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext

from medferry.errors import ManifestTooNew
from medferry.manifest import audit, checkpoints, database, homes, sweeps, uploads
from medferry.manifest.audit import Act
from medferry.manifest.births import NotedBirth, close_birth, note_birth, open_births
from medferry.manifest.charts import charts_of
from medferry.manifest.conflicts import Direction, NewConflict, Versions, open_conflicts, record_conflict
from medferry.manifest.crosswalk import Action, ConfirmedWrite, Effect, find_targets, record_confirmed
from medferry.manifest.cutovers import Direction as Way
from medferry.manifest.cutovers import UnitStage, acts_of, begin_act, begin_attempt, move_unit, stages_of
from medferry.manifest.dead_letters import Choice, dead_letters
from medferry.manifest.entity_keys import in_medplum, keep_origins, known_origins, last_fingerprint
from medferry.manifest.exceptions import exceptions_of
from medferry.manifest.feeds import FeedKind, FeedName, begin_feed, feeds_of, move_feed
from medferry.manifest.held_back import HeldBack, HeldReason, due_again, held_back_of, set_held_back
from medferry.manifest.leftover_acts import (
    LeftoverAct,
    end_inactivation,
    inactivated,
    note_leftover_act,
    unfinished,
)
from medferry.manifest.leftovers import LeftoverKind, leftovers
from medferry.manifest.policy_gates import note_of, note_open, note_proven
from medferry.manifest.purges import PurgeReason, begin_purge, end_purge, purges_of, runs_of_folder
from medferry.manifest.runs import find_run, list_runs, slices_of
from medferry.manifest.sent_batches import open_batches
from medferry.manifest.set_aside import (
    changes_set_aside,
    entities_set_aside,
    set_changes_aside,
    take_set_aside,
)
from medferry.manifest.staged_files import digest_of_file
from medferry.manifest.tables import check, decision, metadata, verification
from medferry.manifest.unit_state import states_of
from medferry.manifest.write_backs import (
    NewBase,
    WriteBack,
    close_write_backs,
    note_write_backs,
    open_write_backs,
)
from medferry.source.key_origins import KeyOrigin
from medferry.source.keys import MAX_KEY_BYTES

REVISIONS = Path(database.__file__).parent / "revisions"
FIRST_SHA256 = "a16f6c25dc2bca91f72e68fdf2281234e215836bdd021b335861bc4f79766e92"


def at_revision(manifest: sa.Engine, revision: str) -> None:
    """Empty the database and make a manifest of an earlier revision in it."""
    with manifest.begin() as connection:
        metadata.drop_all(connection)
        connection.exec_driver_sql("DROP TABLE alembic_version")
        config = Config()
        config.set_main_option("script_location", str(REVISIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


RUNS = (
    # id, migration, status, dry run, started, wish, replays
    ("first", "m", "succeeded", False, "2026-01-01", "", ""),
    ("rehearsal", "m", "succeeded", True, "2026-01-02", "", ""),
    ("second", "m", "failed", False, "2026-01-03", "", ""),
    ("replay", "m", "succeeded", False, "2026-01-04", "", "second"),
    ("working", "m", "running", False, "2026-01-05", "pause", ""),
    ("foreign", "other", "succeeded", False, "2026-01-06", "", ""),
)
LINES = (
    # run, key, unit, disposition, reason
    ("first", "1", "north", "successful", ""),
    ("first", "2", "north", "quarantined", "impossible-date"),
    ("first", "3", "north", "rejected", "server-rejected"),
    ("first", "4", "north", "skipped", "soft-deleted"),
    ("rehearsal", "1", "north", "quarantined", "unmapped-code"),
    ("rehearsal", "5", "north", "skipped", "soft-deleted"),
    ("second", "1", "south", "successful", ""),
    ("second", "2", "north", "quarantined", "unmapped-code"),
    ("second", "3", "north", "quarantined", "unresolved-reference"),
    ("replay", "3", "north", "successful", ""),
    ("working", "1", "south", "pending", ""),
    ("foreign", "1", "east", "rejected", "invalid-resource"),
)
NOW = {
    "1": ("south", "successful", "", "second"),
    "2": ("north", "quarantined", "unmapped-code", "second"),
    "3": ("north", "successful", "", "replay"),
    "4": ("north", "skipped", "soft-deleted", "first"),
}


def fill(connection: sa.Connection) -> None:
    tables = sa.MetaData()
    tables.reflect(connection)

    def insert(table: str, **values: object) -> None:
        connection.execute(sa.insert(tables.tables[table]).values(**values))

    for run_id, migration, status, dry, started, wish, replays in RUNS:
        options = json.loads(json.dumps({"dry_run": dry, "load_mode": "asynchronous"}))
        own = {"units": ["north", "south"], "entities": ["patient"], "options": options, "fingerprint": f"of {run_id}"}
        ended = None if status == "running" else f"{started}T01"
        times = {"started_at": started, "finished_at": ended, "wish": wish, "replays": replays}
        insert("run", id=run_id, migration=migration, kind="run", status=status, **own, **times)
    for run_id, key, unit, disposition, reason in LINES:
        line = {"disposition": disposition, "reason": reason, "field": "born", "place": "", "mapping_version": "1"}
        insert("source_unit", run_id=run_id, entity="patient", key=key, unit=unit, slice_id="patient-00000", **line)
    bounds = {"units": ["north"], "low": None, "high": 7, "keys": None, "eligible": 4, "stage": "loaded", "bundles": 1}
    repeats = {"digest": "d" * 64, "repeats": "first/patient-00000"}
    insert("slice", run_id="second", id="patient-00000", entity="patient", level=1, fence=2, **bounds, **repeats)
    insert("job", run_id="second", url="fhir/R4/job/1/status", slice_id="patient-00000", entries=3, submitted_at="t")
    written = {"entity": "patient", "resource_type": "Patient", "medplum_id": "p", "version_id": "v"}
    for migration in ("m", "other"):
        for value in ("1", "2"):
            own = {"migration": migration, "system": f"https://{migration}/patient", "value": value}
            insert("target", **own, **written, content_hash="", run_id="first")
    facts = {"severity": "major", "different": 1, "unchecked": 0, "digest": "x" * 64, "edition": 2, "found_at": "t"}
    insert("exception", id=7, run_id="second", family="versions", entity="patient", category="content", **facts)
    said = {"approver": "A. Reviewer", "owner": "B. Owner", "action": "none", "due": "2026-02-01"}
    insert("exception_decision", exception_id=7, edition=1, at="t1", decision="open", **said)
    insert("exception_decision", exception_id=7, edition=2, at="t2", decision="accepted", **said)
    insert("chart", run_id="second", entity="patient", key="1", chosen="given", seed=3, drawn_at="t")
    for outcome in ("differs", "agrees"):
        review = {"reviewer": "C. Clinician", "outcome": outcome, "finding": "", "at": f"at {outcome}"}
        insert("chart_review", run_id="second", entity="patient", key="1", **review)


@pytest.fixture
def filled(manifest: sa.Engine) -> sa.Engine:
    """A manifest of the first revision with something in every table that a later one changes."""
    at_revision(manifest, "0001")
    with manifest.begin() as connection:
        fill(connection)
    return manifest


def test_the_first_revision_never_changes() -> None:
    content = (REVISIONS / "versions" / "v0001_first.py").read_bytes()
    assert hashlib.sha256(content).hexdigest() == FIRST_SHA256


def test_what_is_true_of_each_record_is_its_newest_line_of_a_real_run(filled: sa.Engine) -> None:
    database.upgrade(filled)
    with filled.begin() as connection:
        found = states_of(connection, "m", "patient", [str(number) for number in range(9)])
        assert {key: (s.unit, s.disposition, s.reason, s.run_id) for key, s in found.items()} == NOW
        assert {state.fingerprint for state in found.values()} == {"of first", "of second", "of replay"}
        assert {state.source_digest for state in found.values()} == {""}
        assert states_of(connection, "other", "patient", ["1"])["1"].disposition == "rejected"
    letters = list(dead_letters(filled, "m", {}, "second", Choice()))
    assert [(one.key, one.now, one.now_run) for one in letters] == [
        ("2", "quarantined", "second"),
        ("3", "successful", "replay"),
    ]


def test_runs_slices_decisions_and_reviews_read_as_before(filled: sa.Engine) -> None:
    database.upgrade(filled)
    with filled.begin() as connection:
        assert [run.id for run in list_runs(connection, "m", 9)] == [
            "working",
            "replay",
            "second",
            "rehearsal",
            "first",
        ]
        working = find_run(connection, "working")
        assert working is not None and (working.control, working.finished_at) == ("pause", None)
        [slice_] = slices_of(connection, "second")
        assert (slice_.id, slice_.units, slice_.low, slice_.high, slice_.fence) == (
            "patient-00000",
            ["north"],
            None,
            7,
            2,
        )
        [exception] = exceptions_of(connection, "second")
        assert (exception.id, exception.decision, exception.approver) == (7, "accepted", "A. Reviewer")
        assert (exception.owner, exception.action, exception.due) == ("B. Owner", "none", "2026-02-01")
        [chart] = charts_of(connection, "second")
        assert (chart.key, chart.chosen, chart.outcome, chart.reviewer) == ("1", "given", "agrees", "C. Clinician")


def test_what_was_sent_before_there_were_notes_is_not_noted(filled: sa.Engine) -> None:
    database.upgrade(filled)
    with filled.begin() as connection:
        assert open_batches(connection, "m") == []


def test_identifiers_belong_to_who_wrote_them_and_the_first_medplum_is_taken_on_trust(filled: sa.Engine) -> None:
    database.upgrade(filled)
    with filled.begin() as connection:
        systems = ["https://m/patient", "https://other/patient", "https://new/patient"]
        assert homes.claim_identifiers(connection, "m", systems) == {"https://other/patient": "other"}
        assert homes.claim_identifiers(connection, "other", systems).keys() == {systems[0], systems[2]}
        assert homes.medplums_of(connection, "m") == [] and homes.legacy_of(connection, "m") is None
        assert homes.manifest_id(connection) == homes.manifest_id(connection) != ""
        assert digest_of_file(connection, "second", "rows/patient-00000.ndjson.gz") is None


def test_nothing_was_replaced_before_it_was_remembered(filled: sa.Engine) -> None:
    database.upgrade(filled)
    found = [one for page in leftovers(filled, "m", [("s", "Patient")], ["north"]) for one in page]
    assert LeftoverKind.REPLACED not in {one.kind for one in found}


def test_no_wave_was_in_step_before_there_were_checkpoints(filled: sa.Engine) -> None:
    database.upgrade(filled)
    with filled.begin() as connection:
        assert checkpoints.newest(connection, "m", "pilot") is None
        assert sweeps.newest_sweeps(connection, "m", "pilot") == {}


def test_nothing_was_done_about_leftovers_before_it_was_noted(filled: sa.Engine) -> None:
    database.upgrade(filled)
    act = LeftoverAct("e", "https://m/patient", "1", "Patient", "p", "why", Action.INACTIVATE, "A", "h", "v", "hash")
    with filled.begin() as connection:
        assert inactivated(connection, "m", ["p"]) == set() and unfinished(connection, "m") == []
        number = note_leftover_act(connection, "m", act)
        assert unfinished(connection, "m") == [(number, act)]
        end_inactivation(connection, "m", number, act, "w")
        assert inactivated(connection, "m", ["p"]) == {"p"} and unfinished(connection, "m") == []
        for kind in LeftoverKind:  # each fits into the column of what a verification finds
            names = {"part": "leftovers/all", "name": "n", "entity": "e", "key": "1", "field": "", "place": ""}
            connection.execute(sa.insert(metadata.tables["difference"]).values(verification_id=1, kind=kind, **names))


def test_nothing_was_merged_before_it_could_be(filled: sa.Engine) -> None:
    database.upgrade(filled)
    name = ("https://m/patient", "1")
    with filled.begin() as connection:
        known = find_targets(connection, "m", [name])[name]
        assert (known.wanted_hash, known.wanted) == (None, known.content_hash)
        for stored, wanted in (("stored", "made"), ("made", None)):
            proven = ConfirmedWrite(*name, "patient", "Patient", "p", "v2", stored, Effect.UPDATED, wanted)
            record_confirmed(connection, "m", "second", "patient-00000", [proven])
            known = find_targets(connection, "m", [name])[name]
            assert (known.content_hash, known.wanted_hash, known.wanted) == (stored, wanted, "made")


def test_what_was_removed_before_there_was_a_ledger_of_it_is_not_in_it(filled: sa.Engine) -> None:
    database.upgrade(filled)
    with filled.begin() as connection:
        assert purges_of(connection, "m", 9) == []
        end_purge(connection, begin_purge(connection, "m", "first", PurgeReason.PROVEN, (3, 10**10), "ada"))
        [line] = purges_of(connection, "m", 9)
        assert (line.files, line.bytes, bool(line.done_at)) == (3, 10**10, True)
        assert [run.id for run in runs_of_folder(connection, "first", str)] == ["first"]


def test_no_document_was_uploaded_before_it_was_noted(filled: sa.Engine) -> None:
    database.upgrade(filled)
    with filled.begin() as connection:
        assert uploads.uploads_of(connection, "m", [("s", "1")]) == {}
        assert uploads.unanswered(connection, "m", ["patient"], "second") == []
        assert uploads.count_proven(connection, "m", ["patient"]) == 0


def test_nothing_of_medplums_changes_was_read_before_it_was_noted(filled: sa.Engine) -> None:
    database.upgrade(filled)
    with filled.begin() as connection:
        assert feeds_of(connection, "m", "pilot") == []
        name = FeedName("m", "pilot", "Patient", FeedKind.POLL)
        begun = begin_feed(connection, name, "p" * 100_000)
        assert (begun.step, begun.lags) == (0, ())
        assert move_feed(connection, begun, "q", lags=(1.5,) * 600).lags == (1.5,) * 500


def test_of_a_feed_from_before_no_lag_is_known(manifest: sa.Engine) -> None:
    at_revision(manifest, "0023")
    with manifest.begin() as connection:
        columns = "migration, wave, resource_type, kind, position, step, passes, moved_at"
        connection.exec_driver_sql(
            f"INSERT INTO feed ({columns}) VALUES ('m', 'pilot', 'Patient', 'poll', 'p', 3, 1, '2026-01-01')"
        )
    database.upgrade(manifest)
    with manifest.begin() as connection:
        [feed] = feeds_of(connection, "m", "pilot")
        assert (feed.step, feed.lags) == (3, ())


def test_no_conflict_was_recorded_before_there_were_any(filled: sa.Engine) -> None:
    database.upgrade(filled)
    name, of = ("https://m/patient", "k" * MAX_KEY_BYTES), ("m", "pilot", "north", "patient")
    new = NewConflict(*of, name, "Patient", "p", ("name.family",), Direction.FORWARD, Versions("v", "d" * 64))
    with filled.begin() as connection:
        assert open_conflicts(connection, "m") == []
        assert record_conflict(connection, new).key == name[1]


def test_nothing_was_written_back_before_it_was_noted(filled: sa.Engine) -> None:
    database.upgrade(filled)
    base = NewBase("s", "1", "Patient", "p", "v1", "v2", "c" * 64, None)
    note = WriteBack("patient", "1", "pilot", "north", "run", "e" * 64, True, (base,))
    held = HeldBack("patient", "1", "north", HeldReason.SET_ASIDE, path="name." * 200)
    with filled.begin() as connection:
        assert open_write_backs(connection, "m", "pilot") == [] == held_back_of(connection, "m", ["north"])
        note_write_backs(connection, "m", [note])
        assert open_write_backs(connection, "m", "pilot") == [note] and open_write_backs(connection, "m", "rest") == []
        close_write_backs(connection, "m", [("patient", "1")])
        assert open_write_backs(connection, "m", "pilot") == []
        set_held_back(connection, "m", "f", [("patient", "1")], [held, held])
        assert len(held_back_of(connection, "m", ["north"])) == 2 and held_back_of(connection, "m", ["south"]) == []
        assert due_again(connection, "m", ["north"]) == [], "not in the same minute"
        set_held_back(connection, "m", "f", [("patient", "1")], [replace(held, reason=HeldReason.ROW_CHANGED)])
        assert [one.key for one in due_again(connection, "m", ["north"])] == ["1"]
        set_held_back(connection, "m", "f", [("patient", "1")], [])
        assert held_back_of(connection, "m", ["north"]) == []


def test_nothing_was_set_aside_before_it_could_be(filled: sa.Engine) -> None:
    database.upgrade(filled)
    changes = [("patient", "", "k" * MAX_KEY_BYTES), ("patient", "visit", "1"), ("patient", "", None)]
    with filled.begin() as connection:
        assert changes_set_aside(connection, "m", "pilot") == frozenset()
        for _ in range(2):
            set_changes_aside(connection, "m", "pilot", "patient", "why " * 500, changes)
        assert changes_set_aside(connection, "m", "pilot") == set(changes)
        assert changes_set_aside(connection, "m", "rest") == frozenset()
        assert [(one.entity, one.changes) for one in entities_set_aside(connection, "m", "pilot")] == [("patient", 3)]
        take_set_aside(connection, "m", "pilot", ["patient"])
        assert len(changes_set_aside(connection, "m", "pilot")) == 3
        take_set_aside(connection, "m", "pilot", [])
        assert entities_set_aside(connection, "m", "pilot") == []


def test_no_birth_was_begun_before_it_was_noted(filled: sa.Engine) -> None:
    database.upgrade(filled)
    one = NotedBirth("Patient", "p", "patient", "main", "pilot", "north", "v1", "c" * 64)
    other = replace(one, medplum_id="q", wave="rest")
    with filled.begin() as connection:
        assert open_births(connection, "m") == []
        for note in (one, other, one):
            note_birth(connection, "m", note)
        assert open_births(connection, "m", wave="pilot") == [one]
        assert {note.medplum_id for note in open_births(connection, "m", entity="patient")} == {"p", "q"}
        close_birth(connection, "m", one.place)
        assert open_births(connection, "m") == [other] and open_births(connection, "m", entity="weight") == []


def test_of_no_entity_it_was_known_what_its_keys_are_made_of(filled: sa.Engine) -> None:
    database.upgrade(filled)
    origins = {"patient": KeyOrigin(("id", "at"), ("p.id", "p.at"), "d" * 64), "staff": KeyOrigin(("id",), None, "")}
    with filled.begin() as connection:
        assert known_origins(connection, "m", ["patient", "staff"]) == {}
        keep_origins(connection, "m", origins)
        keep_origins(connection, "m", {"staff": origins["staff"]})
        assert known_origins(connection, "m", ["patient", "staff", "other"]) == origins
        assert known_origins(connection, "m", ["staff"]) == {"staff": origins["staff"]}
        assert in_medplum(connection, "m", ["patient", "staff"]) == {"patient"}
        assert last_fingerprint(connection, "m", "staff") == ""


def test_of_a_batch_from_before_the_manifest_s_clock_alone_is_known(manifest: sa.Engine) -> None:
    at_revision(manifest, "0019")
    values = "'m', 'r', 's', 'patient', '[]', '2999-01-01T00:00:00.000Z'"
    with manifest.begin() as connection:
        columns = "migration, run_id, slice_id, entity, entries, sent_at"
        connection.exec_driver_sql(f"INSERT INTO sent_batch ({columns}) VALUES ({values})")
    database.upgrade(manifest)
    with manifest.begin() as connection:
        [batch] = open_batches(connection, "m", server_now="2026-01-01T00:00:00.000Z")
        assert (batch.age, batch.settle_seconds, batch.settles_after(60.0)) == (0.0, None, 60.0)


def test_the_keys_of_an_upgraded_manifest_may_be_as_long_as_any(filled: sa.Engine) -> None:
    database.upgrade(filled)
    long = "k" * MAX_KEY_BYTES
    with filled.begin() as connection:
        connection.execute(
            sa.update(metadata.tables["source_unit"]).values(key=long).where(sa.text("run_id = 'foreign'"))
        )
        chart = {"run_id": "second", "entity": "patient", "chosen": "given", "seed": 3, "drawn_at": "t", "key": long}
        connection.execute(sa.insert(metadata.tables["chart"]).values(**chart))
        assert {len(one.key) for one in charts_of(connection, "second")} == {1, MAX_KEY_BYTES}


def test_it_is_done_once_however_many_open_it(filled: sa.Engine) -> None:
    with ThreadPoolExecutor(4) as openers:
        list(openers.map(lambda _: database.upgrade(filled), range(4)))
    database.upgrade(filled)
    with filled.begin() as connection:
        assert set(sa.inspect(connection).get_table_names()) == {*metadata.tables, "alembic_version"}
        assert len(states_of(connection, "m", "patient", NOW)) == len(NOW)


def test_a_manifest_of_a_newer_version_is_refused_and_left_as_it_is(manifest: sa.Engine) -> None:
    with manifest.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    try:
        with pytest.raises(ManifestTooNew, match="revision 9999"):
            database.upgrade(manifest)
        with manifest.begin() as connection:
            assert MigrationContext.configure(connection).get_current_revision() == "9999"
    finally:
        with manifest.begin() as connection:
            connection.exec_driver_sql("DROP TABLE alembic_version")
            metadata.drop_all(connection)
        database.upgrade(manifest)


def test_no_unit_of_an_older_manifest_was_ever_moved(filled: sa.Engine) -> None:
    database.upgrade(filled)
    with filled.begin() as connection:
        assert stages_of(connection, "m") == {}
        assert note_of(connection, "m", "p1", "north") is None
        note_open(connection, "m", "p1", "north", "v1")
        note_proven(connection, "m", "p1", "north")
        note_open(connection, "m", "p1", "north", "v2")
        noted = note_of(connection, "m", "p1", "north")
        assert noted is not None and noted.open_version == "v2" and noted.proven_at is not None
        made = begin_attempt(connection, "m", "pilot", Way.FORTH, ["north"], "A. Operator", 1, {})
        begin_act(connection, made, "close-legacy", "A. Operator")
        move_unit(connection, "m", "north", None, UnitStage.MEDPLUM, 1, made.id)
        assert stages_of(connection, "m")["north"].stage is UnitStage.MEDPLUM and stages_of(connection, "other") == {}
        assert [(one.act, one.ended_at) for one in acts_of(connection, made)] == [("close-legacy", None)]


def test_what_was_decided_and_verified_before_is_chained_as_it_is_found(filled: sa.Engine) -> None:
    database.upgrade(filled)
    with filled.begin() as connection:
        numbers = list(connection.scalars(sa.select(decision.c.id).order_by(decision.c.id)))
        found = list(reversed(audit.lines(connection, 100)))
        verified = [line.subject for line in found if line.act == Act.VERIFIED]
        assert [line.subject for line in found if line.act == Act.DECIDED] == [f"decision/{one}" for one in numbers]
        assert numbers and {line.actor for line in found} == {""}
        ended = sa.select(verification.c.id).where(verification.c.finished_at.is_not(None))
        assert verified == [f"verification/{one}" for one in connection.scalars(ended.order_by(verification.c.id))]
        assert list(audit.faults(connection)) == []


def test_checks_of_a_finished_verification_are_chained_as_the_program_has_them(manifest: sa.Engine) -> None:
    at_revision(manifest, "0024")
    with manifest.begin() as connection:
        common = {"migration": "m", "subject": {"units": ["n"]}, "sample_share": 0.1, "seed": 3, "validate_all": True}
        of_run = {"run_id": "r", "fingerprint": "f", "declared": {"a": ["é", 1.5]}, "started_at": "t"}
        connection.execute(sa.insert(verification), [{**common, **of_run, "finished_at": "t"}])
        number = connection.scalar(sa.select(verification.c.id))
        facts = {"part": "p", "status": "equal", "compared": 1, "different": 0, "unchecked": 0, "note": "é"}
        row = {"verification_id": number, "name": "n", "entity": "e", "examples": ["1"], "checked_at": "t", **facts}
        connection.execute(sa.insert(check), [row])
    database.upgrade(manifest)
    with manifest.begin() as connection:
        assert [line.act for line in audit.lines(connection, 9)] == [Act.VERIFIED]
        assert list(audit.faults(connection)) == []
