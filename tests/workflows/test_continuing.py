"""A run that was begun before goes on as it was begun, and only while nothing later has begun in its scope."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from medferry.errors import LeaseHeld, MedferryError
from medferry.manifest import leases, runs
from medferry.manifest.dead_letters import Choice
from medferry.medplum.errors import Unauthorised
from medferry.report.write import write_report
from medferry.runtime.continuing import LaterRun, OtherOptions, OtherScope
from medferry.runtime.environment import Environment, own_run
from medferry.runtime.options import RunOptions
from medferry.stages import prepare
from medferry.stages.extract import extract_slice
from medferry.stages.load import DryRun, load_session, load_slice
from medferry.stages.prepare import prepare_run, scope_of
from medferry.stages.replay import prepare_replay
from medferry.stages.transform import transform_slice
from medferry.workflows import finish
from medferry.workflows.migrate import execute_run
from tests.workflows.test_migrate import migrate

REFUSE_WRITES = {
    "kind": "error",
    "status": 403,
    "method": "POST",
    "path": "^/fhir/R4/?$",
    "entries": "writes",
    "every": 1,
}


def run_of(tiny: Environment, run_id: str) -> runs.RunRow:
    with tiny.manifest.begin() as connection:
        return runs.get_run(connection, run_id)


def stopped(tiny: Environment, medplum, run_id: str = "old", **options: object) -> None:
    """A run whose rows are staged, and of which Medplum took none."""
    medplum.inject(REFUSE_WRITES)
    with pytest.raises(Unauthorised):
        migrate(tiny, run_id, **options)
    medplum.inject()


def correct(tiny: Environment) -> None:
    with tiny.source.begin() as connection:
        connection.exec_driver_sql("UPDATE patient SET family = 'Corrected' WHERE id IN (1, 2)")


def families(tiny: Environment) -> set[str]:
    with tiny.medplum() as client:
        return {patient["name"][0]["family"] for patient in client.search_all("Patient", [])}


def test_a_run_is_not_resumed_behind_a_later_one(tiny: Environment, medplum) -> None:
    stopped(tiny, medplum)
    correct(tiny)
    migrate(tiny, "new")
    before, held = run_of(tiny, "old"), families(tiny)
    with pytest.raises(LaterRun, match=r"Run new was started after run old.*Start a new run"):
        migrate(tiny, "old")
    assert run_of(tiny, "old") == before
    assert families(tiny) == held >= {"Corrected"}
    with tiny.manifest.begin() as connection:
        assert not leases.alive(connection, "old")
    assert migrate(tiny, "newest")["updated"] == 0


def test_a_run_that_another_process_begins_at_the_same_moment_goes_on(
    tiny: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut, scope = prepare._cut_source, scope_of(tiny.migration, None, None)
    begun: list[list[runs.SliceRow]] = []

    def meanwhile(*arguments: Any) -> Any:
        monkeypatch.undo()
        begun.append(prepare_run(tiny, "r", "run", scope, RunOptions()))
        return cut(*arguments)

    monkeypatch.setattr(prepare, "_cut_source", meanwhile)
    assert prepare_run(tiny, "r", "run", scope, RunOptions()) == begun[0] != []


@pytest.mark.parametrize("task", [extract_slice, transform_slice, load_slice])
def test_no_task_of_it_is_cleared_either(tiny: Environment, medplum, task) -> None:
    stopped(tiny, medplum)
    migrate(tiny, "new")
    with pytest.raises(LaterRun, match="Run new"):
        task(tiny, "old", "patient-00002")


def test_a_proven_run_of_which_a_task_was_cleared_in_vain_stays_proven(tiny: Environment) -> None:
    migrate(tiny, "old")
    migrate(tiny, "new")
    before = run_of(tiny, "old")
    with pytest.raises(LaterRun):
        load_slice(tiny, "old", "patient-00002")
    finish.finish_run(tiny, "old", failed=True)
    assert run_of(tiny, "old") == before and before.status == "succeeded"
    finish.finish_run(tiny, "new", failed=True)
    assert run_of(tiny, "new").status == "failed"


def test_a_later_run_that_wrote_nothing_yet_counts_and_one_elsewhere_or_dry_does_not(
    tiny: Environment, medplum
) -> None:
    stopped(tiny, medplum, units=["north"])
    rest = scope_of(tiny.migration, ["south"], ["weight"])
    rest.units.remove("shared")
    prepare_run(tiny, "elsewhere", "run", rest, RunOptions())
    migrate(tiny, "dry", dry_run=True)
    own_run(tiny, "old")
    finish.finish_run(tiny, "old", failed=True)
    prepare_run(tiny, "staged", "run", scope_of(tiny.migration, ["north"], ["staff"]), RunOptions())
    finish.finish_run(tiny, "staged", failed=True)
    with pytest.raises(LaterRun, match="Run staged"):
        own_run(tiny, "old")


def test_the_order_of_runs_is_that_of_their_leases_whatever_the_clocks_say(
    tiny: Environment, medplum, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(tiny, medplum)
    behind = (datetime.now(UTC) - timedelta(hours=1)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    with monkeypatch.context() as patch:
        patch.setattr(runs, "read_clock", lambda _: behind)
        prepare_run(tiny, "new", "run", scope_of(tiny.migration, None, None), RunOptions())
    assert run_of(tiny, "old").started_at < run_of(tiny, "new").started_at
    finish.finish_run(tiny, "new", failed=True)
    with pytest.raises(LaterRun, match="Run new"):
        own_run(tiny, "old")


def test_a_replay_is_not_resumed_behind_a_later_run(tiny: Environment) -> None:
    migrate(tiny, "first")
    assert prepare_replay(tiny, "again", "first", Choice(), RunOptions())
    finish.finish_run(tiny, "again", failed=True)
    migrate(tiny, "new")
    with pytest.raises(LaterRun, match="Run new was started after run again"):
        prepare_replay(tiny, "again", "first", Choice(), RunOptions())


def test_what_another_run_holds_is_not_resumed_and_a_take_over_belongs_to_the_act(tiny: Environment, medplum) -> None:
    stopped(tiny, medplum)
    with tiny.manifest.begin() as connection:
        leases.acquire(connection, "tiny", "other", ["north/patient"])
    before = run_of(tiny, "old")
    with pytest.raises(LeaseHeld, match="other"):
        migrate(tiny, "old")
    assert run_of(tiny, "old") == before
    assert migrate(tiny, "old", take_over=True)["created"] > 0


def test_a_dry_run_stays_dry(tiny: Environment) -> None:
    migrate(tiny, "dry", dry_run=True)
    migrate(tiny, "dry")
    with pytest.raises(OtherOptions, match=r"dry_run = true; dry_run = false was given"):
        migrate(tiny, "dry", dry_run=False)
    assert families(tiny) == set()
    run, options = own_run(tiny, "dry")
    with pytest.raises(DryRun, match="writes nothing"), load_session(tiny, run, options):
        pass
    migrate(tiny, "real")
    migrate(tiny, "dry")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"batch_size": 5}, "started with batch_size = 200; batch_size = 5 was given"),
        ({"overwrite": True}, "started with overwrite = false; overwrite = true was given"),
        ({"load_mode": "conditional"}, "started with load_mode = lookup"),
        ({"dry_run": True, "sample": 2}, "started with dry_run = false"),
    ],
)
def test_other_options_are_refused_by_name(tiny: Environment, medplum, given: dict[str, object], told: str) -> None:
    stopped(tiny, medplum, slice_rows=3)
    before = run_of(tiny, "old")
    with pytest.raises(OtherOptions, match=told):
        migrate(tiny, "old", **given)
    assert run_of(tiny, "old") == before
    assert migrate(tiny, "old", slice_rows=3, lanes=4)["created"] > 0


def test_another_scope_is_refused_by_name(tiny: Environment, medplum) -> None:
    stopped(tiny, medplum, units=["north"])
    with pytest.raises(OtherScope, match=r"its units are shared, north, given were shared, north, south"):
        migrate(tiny, "old")
    scope = scope_of(tiny.migration, ["north"], ["patient"])
    with pytest.raises(OtherScope, match="its entities are"):
        execute_run(tiny, "old", "run", scope, RunOptions(), lambda *_: None)


def test_a_refused_preparation_leaves_the_run_and_any_other_fault_ends_it(tiny: Environment) -> None:
    prepare_run(tiny, "r", "run", scope_of(tiny.migration, None, None), RunOptions())
    finish.give_up(tiny, "r", OtherOptions("no"))
    assert run_of(tiny, "r").status == "running"
    finish.give_up(tiny, "r", MedferryError("too many"))
    assert run_of(tiny, "r").status == "failed"


def test_a_report_says_when_its_run_ended_however_it_ended(tiny: Environment, medplum, tmp_path: Path) -> None:
    stopped(tiny, medplum)
    migrate(tiny, "proven")
    migrate(tiny, "dry", dry_run=True)
    for run_id in ("old", "proven", "dry"):
        report = json.loads(write_report(tiny, run_id, tmp_path / run_id).json.read_text())
        assert report["finished_at"] >= report["started_at"], run_id
