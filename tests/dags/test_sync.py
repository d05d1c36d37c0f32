"""The DAG of a wave in parallel state: there only where the plan says so, by intervals that are caught up."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
from airflow.sdk.definitions.deadline import DeadlineReference
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.interval import CronDataIntervalTimetable

from medferry_airflow.factory import TAGS
from medferry_airflow.in_step import tail_of
from medferry_airflow.names import POOL
from tests import tiny_platform
from tests.dags.conftest import parse

_FACTS = 'schedule: "*/5 * * * *", since: 2026-01-01, tail_seconds: 240, max_lag_seconds: 60, reverse: true'
SYNC = f"sync: {{{_FACTS}}}"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> DagBag:
    ignored = shutil.ignore_patterns("__pycache__")
    folder = shutil.copytree(tiny_platform.MIGRATION, tmp_path_factory.mktemp("sync") / "tiny", ignore=ignored)
    plan = Path(folder) / "plan.yaml"
    rules = "authority: {domains: {people: [patient]}, rules: [{domain: people, writer: medplum}]}\n"
    plan.write_text(plan.read_text().replace("units: [north]}", f"units: [north], {SYNC}}}") + rules)
    return parse(folder)


@pytest.fixture
def dag(found: DagBag) -> DAG:
    return found.dags["sync_pilot"]


def test_only_the_wave_whose_plan_says_so_has_one(found: DagBag) -> None:
    assert found.import_errors == {}
    assert [name for name in found.dags if name.startswith("sync_")] == ["sync_pilot"]


def test_intervals_are_caught_up_one_run_at_a_time(dag: DAG) -> None:
    assert isinstance(dag.timetable, CronDataIntervalTimetable)
    assert (dag.catchup, dag.max_active_runs, dag.start_date) == (True, 1, datetime(2026, 1, 1, tzinfo=UTC))


def test_it_goes_forth_then_back_and_says_what_it_does(dag: DAG) -> None:
    forth, back = dag.tasks
    for task, name in ((forth, "sync"), (back, "reverse")):
        assert (task.task_id, task.pool, task.retries >= 3, bool(task.doc_md)) == (name, POOL, True, True)
    assert (forth.downstream_task_ids, back.downstream_task_ids) == ({"reverse"}, set())
    assert set(dag.tags) <= TAGS
    for part in ("It changes", "Do not trigger it", "Example conf", "When it is red", "Pool"):
        assert part in (dag.doc_md or "")


def test_it_can_be_serialized(dag: DAG) -> None:
    again = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))
    assert sorted(again.task_ids) == ["reverse", "sync"]


def test_the_tail_ends_when_the_next_run_takes_over() -> None:
    now = datetime.now(UTC)
    five = timedelta(minutes=5)
    assert tail_of(now - five, now, 60) == 60
    assert 290 <= tail_of(now - five, now, 900) <= 300
    assert tail_of(now - 4 * five, now - 3 * five, 240) == 0


def test_a_run_that_is_not_over_in_time_is_told(dag: DAG, caplog: pytest.LogCaptureFixture) -> None:
    [alert] = dag.deadline or []
    assert (alert.reference, alert.interval) == (DeadlineReference.DAGRUN_QUEUED_AT, timedelta(seconds=300))
    assert alert.callback.path in str(DagSerialization.serialize_dag(dag))
    module, _, name = alert.callback.path.rpartition(".")
    with caplog.at_level("ERROR"):
        getattr(import_module(module), name)(**alert.callback.kwargs, context={"dag_run": {"dag_run_id": "r1"}})
    assert "pilot is late: run r1" in caplog.text
