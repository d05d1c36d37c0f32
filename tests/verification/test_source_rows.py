"""A row that reads otherwise than what was loaded is told, whichever of its columns it is, compared or not."""

from __future__ import annotations

import pytest

from medferry.governance.verdict import verdict_of
from medferry.manifest.subject import Subject
from medferry.manifest.unchanged import forget_digests
from medferry.runtime.environment import Environment
from medferry.runtime.options import RunOptions
from medferry.stages.replay import Choice
from medferry.verification.run import verify_run, verify_subject
from medferry.verification.source_rows import AS_LOADED, CHANGED, REMEDY
from medferry.workflows.migrate import RunInOneProcess
from medferry.workflows.replay import execute_replay
from tests.verification.test_subject import differences, legacy, unequal
from tests.workflows.test_migrate import migrate

UNCOMPARED = "UPDATE weight SET updated_at = '2024-12-24 12:00:00' WHERE id = 1"
"""A column of the entity that no check compares."""


def test_a_changed_column_that_no_check_compares_is_not_proven(tiny: Environment) -> None:
    migrate(tiny, "first")
    assert verify_subject(tiny).verdict.text() == "proven"
    legacy(tiny, UNCOMPARED)
    told = {(AS_LOADED, "weight", "1", CHANGED)}
    for subject in (Subject(), Subject(units=("north",)), Subject(keys={"weight": ("1", "4")})):
        found = verify_subject(tiny, subject)
        assert differences(tiny, found) == told
        assert found.verdict.text() == "not proven"
        assert REMEDY in {result.note for result in found.verdict.results}
    for subject in (Subject(units=("shared",)), Subject(keys={"weight": ("4",)})):
        assert unequal(verify_subject(tiny, subject)) == set()
    verify_run(tiny, "first")
    with tiny.manifest.begin() as connection:
        assert verdict_of(connection, "first").text() == "not proven"


def test_it_is_proven_again_once_it_was_loaded_again(tiny: Environment) -> None:
    """By the next run, or by a replay: of both, the newest counts, also for who verifies the first run again."""
    migrate(tiny, "first")
    legacy(tiny, UNCOMPARED, "UPDATE patient SET born = '1985-02-28' WHERE id = 4")
    assert unequal(verify_subject(tiny)) == {(AS_LOADED, "weight"), (AS_LOADED, "patient")}  # was quarantined
    execute_replay(tiny, "replay", "first", Choice(("patient",)), RunOptions(), lambda *_: None)
    assert unequal(verify_subject(tiny)) == {(AS_LOADED, "weight")}
    migrate(tiny, "second")
    assert verify_subject(tiny).verdict.text() == "proven"
    assert not any(result.different for result in verify_run(tiny, "first") if result.name == AS_LOADED)


def test_a_row_that_was_not_loaded_is_judged_too(tiny: Environment) -> None:
    """What was skipped or quarantined for what its row was need not be now."""
    migrate(tiny, "first")
    legacy(tiny, "UPDATE patient SET family = 'Other' WHERE id IN (3, 7)")
    assert differences(tiny, verify_subject(tiny)) == {(AS_LOADED, "patient", key, CHANGED) for key in ("3", "7")}


def test_what_a_dead_run_has_not_reached_is_told(tiny: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    migrate(tiny, "first")
    legacy(tiny, "UPDATE weight SET updated_at = '2024-12-24 12:00:00' WHERE unit = 'north'")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(RunInOneProcess, "load", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        migrate(tiny, "dead")
    assert unequal(verify_subject(tiny)) == {(AS_LOADED, "weight")}


def test_a_row_of_which_nothing_is_known_could_not_be_checked(tiny: Environment) -> None:
    migrate(tiny, "first")
    with tiny.manifest.begin() as connection:
        forget_digests(connection, "tiny", ["staff"])  # what they refer to has another id: the row is known still
    assert verify_subject(tiny).verdict.text() == "proven"
    with tiny.manifest.begin() as connection:
        connection.exec_driver_sql("UPDATE source_unit SET source_digest = '' WHERE entity = 'staff'")
    [result] = [one for one in verify_subject(tiny).verdict.results if (one.name, one.entity) == (AS_LOADED, "staff")]
    assert (result.status, result.unchecked) == ("could_not_check", 2)


def test_a_dry_run_has_loaded_nothing(tiny: Environment) -> None:
    migrate(tiny, "dry", dry_run=True)
    legacy(tiny, UNCOMPARED)
    assert AS_LOADED not in {result.name for result in verify_run(tiny, "dry")}
