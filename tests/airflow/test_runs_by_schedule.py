"""A wave in parallel state on the real scheduler: caught up, backfilled over the past, cleared. After `test_runs`."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from medferry.manifest.checkpoints import checkpoint
from medferry.manifest.subject import loaded_units
from medferry.source.changes.engines import install
from medferry.source.changes.sweep import Throttle
from medferry.sync.sweeping import sweep_wave
from medferry.sync.wave import synced_wave
from medferry_airflow.local import LocalAirflow
from tests.airflow.conftest import PATIENCE, Platform, backfill
from tests.sync.conftest import CAPTURE, families

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(1_500)]

DAG_ID = "sync_pilot"
SYNC = 'sync: {schedule: "0 0 1 1 *", since: 2024-01-01, max_lag_seconds: 3600}'
"""Data intervals are years: a few of them have passed, and none ends while the test runs."""
Versions = dict[str, str]
"""Resource → version id in Medplum."""


@pytest.fixture(scope="module")
def in_step(airflow: LocalAirflow, platform: Platform) -> Platform:
    """The pilot wave loaded, swept, and with a change in its journal, before its plan says `sync`."""
    platform.start_medplum()
    if not _is_loaded(platform):
        assert airflow.wait("wave_pilot", airflow.trigger("wave_pilot"), PATIENCE) == "success"
    (platform.migration / "capture.yaml").write_text(CAPTURE)
    environment = platform.environment()
    wave = synced_wave(environment, "pilot")
    install(environment.capture, wave.journal)
    sweep_wave(wave, Throttle(rows_per_second=1e9, latency=60))
    rename(platform, 1, "Adair")
    plan = platform.migration / "plan.yaml"
    plan.write_text(plan.read_text().replace("units: [north]}", f"units: [north], {SYNC}}}"))
    return platform


@pytest.fixture(scope="module")
def caught_up(airflow: LocalAirflow, in_step: Platform) -> list[str]:
    """The ids of the runs that the scheduler has made by itself, the oldest interval first."""
    api = airflow.api
    assert api is not None
    api.wait_for_dag(DAG_ID)
    api.until(
        lambda: _is_quiet(airflow) and _states(airflow, "scheduled") == {"success"}, PATIENCE, "no end of catching up"
    )
    return [run["dag_run_id"] for run in _runs(airflow, "scheduled")]


def _is_quiet(airflow: LocalAirflow) -> bool:
    """Whether every interval that is over has its run; with as many at work as may be, Airflow tells no next one."""
    assert airflow.api is not None
    following = airflow.api.request("GET", f"dags/{DAG_ID}")["next_dagrun_data_interval_end"]
    return following is not None and bool(following > datetime.now(UTC).isoformat())


def _is_loaded(platform: Platform) -> bool:
    if not (platform.folder / "manifest.db").exists():
        return False
    with platform.manifest.begin() as connection:
        found = loaded_units(connection, "tiny")
    return all({"north", "shared"} <= found.get(name, set()) for name in ("clinic", "staff", "patient", "weight"))


def _runs(airflow: LocalAirflow, kind: str) -> list[Any]:
    assert airflow.api is not None
    found = airflow.api.request("GET", f"dags/{DAG_ID}/dagRuns", limit=100, run_type=kind)["dag_runs"]
    return sorted(found, key=lambda run: str(run["data_interval_start"]))


def _states(airflow: LocalAirflow, kind: str) -> set[str]:
    return {run["state"] for run in _runs(airflow, kind)}


def rename(platform: Platform, patient: int, family: str) -> None:
    """As a user of the legacy application would."""
    with closing(sqlite3.connect(platform.folder / "legacy.db")) as legacy, legacy:
        legacy.execute("UPDATE patient SET family = ? WHERE id = ?", (family, patient))


def versions(platform: Platform) -> Versions:
    """Of every resource that a migration has made."""
    environment = platform.environment()
    kinds = {kind for spec in environment.migration.specs.values() for kind in spec.produces.values()}
    with environment.medplum() as client:
        return {
            f"{kind}/{found['id']}": found["meta"]["versionId"]
            for kind in sorted(kinds)
            for found in client.search_all(kind, [])
        }


def intervals(platform: Platform) -> list[tuple[str, str]]:
    """(first day of its data interval, whether it had a key) of each scheduled cut, in their order."""
    columns = (checkpoint.c.interval_from, checkpoint.c.records)
    with platform.manifest.begin() as connection:
        rows = connection.execute(sa.select(*columns).where(checkpoint.c.interval_from != "").order_by(checkpoint.c.id))
        return [(start[:10], "keys" if records else "none") for start, records in rows]


def test_intervals_that_were_missed_are_caught_up_and_the_first_takes_the_changes(
    caught_up: list[str], in_step: Platform
) -> None:
    years = [f"{2024 + number}-01-01" for number in range(len(caught_up))]
    assert len(caught_up) >= 2
    assert intervals(in_step) == [(year, "none" if place else "keys") for place, year in enumerate(years)]
    assert families(in_step.environment())["1"] == "Adair"


def test_a_backfill_over_the_past_changes_nothing_and_takes_nothing_from_the_next_cut(
    airflow: LocalAirflow, caught_up: list[str], in_step: Platform
) -> None:
    rename(in_step, 2, "Benedict")
    before, cuts = versions(in_step), intervals(in_step)
    backfill(airflow, DAG_ID, "2022-01-01", "2024-01-01")
    api = airflow.api
    assert api is not None
    api.until(lambda: len(_runs(airflow, "backfill")) == 3, 30, "the backfill made no runs")
    api.until(lambda: _states(airflow, "backfill") == {"success"}, PATIENCE, "the backfill did not end")
    # 2022 and 2023, in which nothing had run, and 2024 once more.
    assert [run["data_interval_start"][:4] for run in _runs(airflow, "backfill")] == ["2022", "2023", "2024"]
    assert (versions(in_step), intervals(in_step)) == (before, cuts)


def test_a_cleared_old_run_writes_nothing(airflow: LocalAirflow, caught_up: list[str], in_step: Platform) -> None:
    before, cuts = versions(in_step), intervals(in_step)
    api = airflow.api
    assert api is not None
    task = f"dags/{DAG_ID}/dagRuns/{caught_up[0]}/taskInstances/sync"
    tries = api.request("GET", task)["try_number"]
    cleared = {"dry_run": False, "dag_run_id": caught_up[0], "only_failed": False, "reset_dag_runs": True}
    api.request("POST", f"dags/{DAG_ID}/clearTaskInstances", cleared)
    assert airflow.wait(DAG_ID, caught_up[0], PATIENCE) == "success"
    assert api.request("GET", task)["try_number"] == tries + 1
    assert (versions(in_step), intervals(in_step)) == (before, cuts)


def test_the_state_is_that_of_having_run_on_time(
    airflow: LocalAirflow, caught_up: list[str], in_step: Platform
) -> None:
    assert airflow.wait(DAG_ID, airflow.trigger(DAG_ID), PATIENCE) == "success"
    found = families(in_step.environment())
    assert (found["1"], found["2"]) == ("Adair", "Benedict")
