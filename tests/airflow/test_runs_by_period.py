"""A wave loaded by months on the real scheduler, backwards, killed once, a month cleared. After `test_runs`."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from medferry.manifest.accounting import accounts
from medferry.manifest.runs import list_runs
from medferry.runtime.options import RunOptions
from medferry.stages.prepare import scope_of
from medferry.workflows.migrate import execute_run
from medferry_airflow.local import LocalAirflow
from tests.airflow.conftest import PATIENCE, Platform, backfill

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(1_500)]

DAG_ID = "history_late"


def first_of_month(months_ago: int) -> date:
    day = datetime.now(UTC).date().replace(day=1)
    for _ in range(months_ago):
        day = (day - timedelta(days=1)).replace(day=1)
    return day


OLDER, NEWER = first_of_month(2), first_of_month(1)


@pytest.fixture(scope="module")
def planned(airflow: LocalAirflow, platform: Platform) -> Platform:
    """A unit of its own in a wave with a history, whose records are of every kind of date."""
    platform.start_medplum()
    dates = [NEWER, OLDER, None, date(1999, 1, 1), datetime.now(UTC).date()]
    with closing(sqlite3.connect(platform.folder / "legacy.db")) as legacy, legacy:
        for number in (101, 102):
            patient = (number, "west", 1, f"West {number}", "1970-02-03", "F", None)
            legacy.execute("INSERT INTO patient VALUES (?, ?, ?, ?, ?, ?, ?)", patient)
        for number, day in enumerate(dates, 201):
            weight = (number, "west", 101, "70.00", f"{day} 08:30:00" if day else None, None)
            legacy.execute("INSERT INTO weight VALUES (?, ?, ?, ?, ?, ?)", weight)
    plan = platform.migration / "plan.yaml"
    text = plan.read_text().replace("waves:\n", "  - {id: west, title: West clinic}\nwaves:\n")
    history = f"history: {{every: month, from: {OLDER}}}"
    text = text.replace("acceptance:\n", f"  - {{id: late, title: Late, units: [west], {history}}}\nacceptance:\n")
    plan.write_text(text)
    assert airflow.api is not None
    airflow.api.wait_for_dag(DAG_ID)
    return platform


@pytest.fixture(scope="module")
def backfilled(airflow: LocalAirflow, planned: Platform) -> list[Any]:
    """The two runs of the backfill, the newest month first; a load of it was killed once."""
    api = airflow.api
    assert api is not None
    with planned.refusing(503):
        backfill(airflow, DAG_ID, str(OLDER), str(NEWER), "--run-backwards", "--max-active-runs", "1")
        api.until(lambda: bool(_loading(airflow)), PATIENCE, "nothing was loaded")
        os.kill(_loading(airflow)[0]["pid"], signal.SIGKILL)
    api.until(lambda: {run["state"] for run in _runs(airflow)} == {"success"}, PATIENCE, "the backfill did not end")
    return _runs(airflow)


def _runs(airflow: LocalAirflow) -> list[Any]:
    assert airflow.api is not None
    found = airflow.api.request("GET", f"dags/{DAG_ID}/dagRuns", limit=100)["dag_runs"]
    return sorted(found, key=lambda run: str(run["start_date"] or "later"))


def _loading(airflow: LocalAirflow) -> list[Any]:
    """The task instances that load, with the process of each."""
    assert airflow.api is not None
    found = airflow.api.request("GET", f"dags/{DAG_ID}/dagRuns/~/taskInstances", limit=100, state="running")
    return [each for each in found["task_instances"] if each["task_id"].endswith(".load") and each["pid"]]


def created(platform: Platform, run_id: str) -> dict[str, int]:
    """Entity → resources that a run has created in the unit west."""
    with platform.manifest.begin() as connection:
        return {row.entity: row.created for row in accounts(connection, run_id) if row.unit == "west"}


def test_the_newest_month_comes_first_with_the_patients(backfilled: list[Any], planned: Platform) -> None:
    assert [run["data_interval_start"][:10] for run in backfilled] == [str(NEWER), str(OLDER)]
    newer, older = (f"{DAG_ID}.{run['dag_run_id']}" for run in backfilled)
    assert created(planned, newer) == {"patient": 2, "weight": 2}  # of the month, and of today
    assert created(planned, older) == {"weight": 3}  # of the month, of 1999, and without a date
    assert planned.leases() == 0


def test_it_was_killed_once(airflow: LocalAirflow, backfilled: list[Any]) -> None:
    assert airflow.api is not None
    path = f"dags/{DAG_ID}/dagRuns/{backfilled[0]['dag_run_id']}/taskInstances"
    found = airflow.api.request("GET", path, limit=100)["task_instances"]
    assert max(each["try_number"] for each in found if each["task_id"].endswith(".load")) >= 2


def test_a_month_that_is_cleared_when_others_have_begun_is_loaded_by_a_run_of_its_own(
    airflow: LocalAirflow, backfilled: list[Any], planned: Platform
) -> None:
    assert airflow.api is not None
    run_id = backfilled[0]["dag_run_id"]
    cleared = {"dry_run": False, "dag_run_id": run_id, "only_failed": False, "reset_dag_runs": True}
    airflow.api.request("POST", f"dags/{DAG_ID}/clearTaskInstances", cleared)
    assert airflow.wait(DAG_ID, run_id, PATIENCE) == "success"
    assert created(planned, f"{DAG_ID}.{run_id}.2") == {"weight": 0}


def test_the_wave_finds_nothing_left_to_do(backfilled: list[Any], planned: Platform) -> None:
    environment = planned.environment()
    scope = scope_of(environment.migration, environment.migration.plan.units_of_wave("late"), None)
    execute_run(environment, "wave_late.after", "wave_late", scope, RunOptions(), lambda *_: None)
    assert created(planned, "wave_late.after") == {"patient": 0, "weight": 0}
    with planned.manifest.begin() as connection:
        newest = list_runs(connection, "tiny", 1)[0]
    assert (newest.id, newest.status) == ("wave_late.after", "succeeded")


def test_a_run_without_a_period_is_refused(airflow: LocalAirflow, planned: Platform) -> None:
    with pytest.raises(Exception, match="HTTP 4"):
        airflow.trigger(DAG_ID)
