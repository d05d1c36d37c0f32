"""The DAG of a wave's history: begun by backfills alone, and with the edges of any migration."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.interval import CronDataIntervalTimetable

from medferry_airflow.factory import TAGS
from tests import tiny_platform
from tests.dags.conftest import parse
from tests.dags.test_safety import loads, upstream

HISTORY = "history: {every: month, from: 2010-01-01}"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> DagBag:
    ignored = shutil.ignore_patterns("__pycache__")
    folder = shutil.copytree(tiny_platform.MIGRATION, tmp_path_factory.mktemp("history") / "tiny", ignore=ignored)
    plan = Path(folder) / "plan.yaml"
    plan.write_text(plan.read_text().replace("units: [north]}", f"units: [north], {HISTORY}}}"))
    return parse(folder)


@pytest.fixture
def dag(found: DagBag) -> DAG:
    return found.dags["history_pilot"]


def test_only_the_wave_whose_plan_says_so_has_one(found: DagBag) -> None:
    assert found.import_errors == {}
    assert [name for name in found.dags if name.startswith("history_")] == ["history_pilot"]


def test_its_intervals_are_the_periods_and_nothing_but_a_backfill_begins_it(dag: DAG) -> None:
    again = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))
    assert isinstance(dag.timetable, CronDataIntervalTimetable)
    months = list(again.iter_dagrun_infos_between(datetime(2026, 8, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC)))
    assert [(each.data_interval.start.month, each.data_interval.end.month) for each in months] == [
        (8, 9),
        (9, 10),
        (10, 11),
    ]
    following = again.next_dagrun_info(last_automated_run_info=months[-1])
    assert following is not None and following.run_after.year == 3000
    assert set(dag.allowed_run_types or ()) == {"scheduled", "backfill"}
    assert (dag.catchup, dag.max_active_runs) == (False, 1)


def test_it_has_the_edges_of_any_migration(dag: DAG) -> None:
    for number, task_id in enumerate(loads(dag)):
        assert {"find_records", "prepare", "stage.extract", "stage.transform"} <= upstream(dag, task_id)
        assert {f"load_level_{lower}.load" for lower in range(number)} <= upstream(dag, task_id)
    assert [task.task_id for task in dag.leaves] == ["conclude"]
    assert dag.get_task("conclude").is_teardown and dag.get_task("prepare").is_setup
    assert all(task.doc_md for task in dag.tasks)
    assert set(dag.tags) <= TAGS
    assert "sample" not in dag.params and "dry_run" in dag.params
    for part in ("It changes", "Do not trigger it", "Example conf", "When it is red", "--run-backwards", "Pool"):
        assert part in (dag.doc_md or "")
