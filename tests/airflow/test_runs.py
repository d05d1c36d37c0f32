"""Whole runs by a real scheduler, in the order of the file: each test goes on where the one before has ended."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from medferry.manifest.runs import UnknownRun, find_run, list_runs, set_control
from medferry.medplum.client import MedplumClient
from medferry_airflow.local import LocalAirflow, LocalAirflowError
from medferry_airflow.rest import ApiError
from tests.airflow.conftest import PATIENCE, Platform
from tests.database_content import content_of

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(1_500)]

PATIENTS = (b"Lindqvist", b"Okafor", b"F" * 50, b"1985-02-30")
"""Words that stand in the legacy database's rows and nowhere else."""


def by_task(airflow: LocalAirflow, dag_id: str, run_id: str) -> dict[str, Counter[str | None]]:
    """Task id → states of its instances."""
    states: dict[str, Counter[str | None]] = {}
    for (task_id, _), state in airflow.task_states(dag_id, run_id).items():
        states.setdefault(task_id, Counter())[state] += 1
    return states


@pytest.fixture(scope="module")
def early_run(airflow: LocalAirflow) -> str:
    """A DAG run of a wave, triggered while Medplum is down; nobody has waited for it yet."""
    return airflow.trigger("wave_pilot")


@pytest.fixture(scope="module")
def red_run(airflow: LocalAirflow, platform: Platform, early_run: str) -> str:
    """A DAG run that Medplum let read, but not write, at its end."""
    assert airflow.wait("wave_pilot", early_run, PATIENCE) == "failed"
    platform.start_medplum()
    with platform.refusing(403):
        run_id = airflow.trigger("wave_pilot", {"slice_rows": 10})
        assert airflow.wait("wave_pilot", run_id, PATIENCE) == "failed"
    return run_id


def test_a_dry_run_needs_no_medplum_and_is_green(airflow: LocalAirflow, platform: Platform, early_run: str) -> None:
    run_id = airflow.trigger("big_bang", {"dry_run": True, "sample": 3, "units": ["south"]})
    assert airflow.wait("big_bang", run_id, PATIENCE) == "success"
    assert by_task(airflow, "big_bang", run_id)["load_level_0.load"] == {"skipped": 1}
    assert platform.run(f"big_bang.{run_id}").units == ["shared", "south"]
    assert platform.report(f"big_bang.{run_id}")["verdict"] == "dry run"
    assert airflow.api is not None
    assert airflow.api.request("GET", f"dags/big_bang/dagRuns/{run_id}")["note"] == "Medferry: DRY RUN"


def test_a_run_begins_at_the_time_that_was_said(airflow: LocalAirflow, platform: Platform, early_run: str) -> None:
    assert airflow.api is not None
    begins = datetime.now(UTC) + timedelta(seconds=10)
    conf = {"dry_run": True, "sample": 3, "units": ["south"]}
    asked = {"logical_date": None, "run_after": begins.isoformat(), "conf": conf}
    run_id = airflow.api.request("POST", "dags/big_bang/dagRuns", asked)["dag_run_id"]
    assert airflow.wait("big_bang", run_id, PATIENCE) == "success"
    run = airflow.api.request("GET", f"dags/big_bang/dagRuns/{run_id}")
    assert datetime.fromisoformat(run["start_date"]) >= begins


def test_options_that_do_not_fit_fail_at_once_with_the_reason(airflow: LocalAirflow, platform: Platform) -> None:
    run_id = airflow.trigger("big_bang", {"sample": 3})
    assert airflow.wait("big_bang", run_id, PATIENCE) == "failed"
    assert _try_number(airflow, "big_bang", run_id, "prepare") == 1
    assert any("a sample is for a dry run" in line for line in _log_lines(airflow, "big_bang", run_id, "prepare"))


def test_a_conf_with_an_unknown_name_fails_at_once_and_makes_no_run(airflow: LocalAirflow, platform: Platform) -> None:
    airflow.cli("dags", "trigger", "big_bang", "--run-id", "mistyped", "--conf", '{"dryrun": true}')
    assert airflow.wait("big_bang", "mistyped", PATIENCE) == "failed"
    assert _try_number(airflow, "big_bang", "mistyped", "prepare") == 1
    assert any("Did you mean dry_run?" in line for line in _log_lines(airflow, "big_bang", "mistyped", "prepare"))
    with platform.manifest.begin() as connection:
        assert find_run(connection, "big_bang.mistyped") is None


def test_a_value_of_a_wrong_type_or_size_makes_no_dag_run(airflow: LocalAirflow) -> None:
    for name, value in (("dry_run", "no"), ("units", "south"), ("stop_at_share", 0)):
        with pytest.raises(ApiError, match=f"HTTP 400.*{name}"):
            airflow.trigger("big_bang", {name: value})
    with pytest.raises(LocalAirflowError, match="dry_run"):
        airflow.cli("dags", "trigger", "big_bang", "--conf", '{"dry_run": "no"}')


def test_a_conf_with_an_unknown_name_makes_no_run_in_dags_test_either(
    airflow: LocalAirflow, platform: Platform
) -> None:
    before = _known_runs(platform)
    with contextlib.suppress(LocalAirflowError):
        airflow.cli("dags", "test", "big_bang", "--conf", '{"unit": ["south"]}')
    assert airflow.api is not None
    runs = airflow.api.request("GET", "dags/big_bang/dagRuns", limit=100)["dag_runs"]
    assert [run["state"] for run in runs if run["conf"] == {"unit": ["south"]}] == ["failed"]
    assert _known_runs(platform) == before


def _known_runs(platform: Platform) -> list[str]:
    with platform.manifest.begin() as connection:
        return [run.id for run in list_runs(connection, "tiny", 100)]


def test_with_medplum_down_a_run_tries_again_and_ends_red_before_anything_is_done(
    airflow: LocalAirflow, platform: Platform, early_run: str
) -> None:
    assert airflow.wait("wave_pilot", early_run, PATIENCE) == "failed"
    assert by_task(airflow, "wave_pilot", early_run)["prepare"] == {"failed": 1}
    assert _try_number(airflow, "wave_pilot", early_run, "prepare") == 5
    assert platform.leases() == 0


def test_a_load_that_medplum_refuses_fails_at_once_and_the_run_is_red(airflow: LocalAirflow, red_run: str) -> None:
    states = by_task(airflow, "wave_pilot", red_run)
    assert states["stage.transform"].keys() == {"success"}
    assert states["load_level_0.load"] == {"failed": 1}
    assert states["verify"] == {"upstream_failed": 1}
    assert states["conclude"] == {"failed": 1}
    assert _try_number(airflow, "wave_pilot", red_run, "load_level_0.load/0") == 1


def test_a_red_run_gives_back_its_leases_and_has_its_report(
    airflow: LocalAirflow, platform: Platform, red_run: str
) -> None:
    assert platform.leases() == 0
    assert platform.run(f"wave_pilot.{red_run}").status == "failed"
    assert platform.report(f"wave_pilot.{red_run}")["verdict"] == "not verified"
    lines = _log_lines(airflow, "wave_pilot", red_run, "conclude")
    assert any("load_level_0.load_0 (failed)" in line and "leases are given back" in line for line in lines)


def test_mapped_tasks_are_shown_by_their_slice(airflow: LocalAirflow, red_run: str) -> None:
    assert airflow.api is not None
    run = f"dags/wave_pilot/dagRuns/{red_run}/taskInstances"
    for task_id in ("stage.extract", "stage.transform", "load_level_0.load"):
        assert airflow.api.request("GET", f"{run}/{task_id}/0")["rendered_map_index"] == "clinic-00000"


def test_when_the_cause_is_removed_the_cleared_run_goes_on_and_ends_green(
    airflow: LocalAirflow, platform: Platform, red_run: str
) -> None:
    assert airflow.api is not None
    cleared = {"dry_run": False, "dag_run_id": red_run, "only_failed": True, "include_downstream": True}
    airflow.api.request("POST", "dags/wave_pilot/clearTaskInstances", {**cleared, "reset_dag_runs": True})
    assert airflow.wait("wave_pilot", red_run, PATIENCE) == "success"
    assert platform.leases() == 0
    assert platform.run(f"wave_pilot.{red_run}").status == "succeeded"
    report = platform.report(f"wave_pilot.{red_run}")
    assert report["verdict"] == "proven"
    assert report["status"] == "succeeded" and report["finished_at"]
    rows = report["rows"]
    assert isinstance(rows, list)
    assert sum(row["successful"] for row in rows) == 4 + 2 + 2 + 1 + 20 + 10


def test_a_run_that_is_marked_failed_gives_back_its_leases_too(
    airflow: LocalAirflow, platform: Platform, red_run: str
) -> None:
    api = airflow.api
    assert api is not None
    with platform.refusing(503):
        run_id = airflow.trigger("wave_rest")
        loading = ("load_level_1.load", 0)  # level 0 is unchanged, and so is not written
        api.until(
            lambda: airflow.task_states("wave_rest", run_id).get(loading) == "running", PATIENCE, "nothing was loaded"
        )
        assert platform.leases() > 0
        api.request("PATCH", f"dags/wave_rest/dagRuns/{run_id}", {"state": "failed"})
        api.until(lambda: platform.leases() == 0, PATIENCE, "the leases were not given back")
        assert airflow.wait("wave_rest", run_id, PATIENCE) == "failed"
        assert platform.run(f"wave_rest.{run_id}").status == "failed"


def test_the_command_line_triggers_a_wave_and_an_empty_level_stops_nothing(
    airflow: LocalAirflow, platform: Platform
) -> None:
    conf = {"entities": ["clinic", "weight"], "batch_size": 7, "slice_rows": 10}
    airflow.cli("dags", "trigger", "wave_pilot", "--run-id", "from_the_command_line", "--conf", json.dumps(conf))
    assert airflow.wait("wave_pilot", "from_the_command_line", PATIENCE) == "success"
    states = by_task(airflow, "wave_pilot", "from_the_command_line")
    assert states["load_level_1.load"] == {"skipped": 1}
    assert states["load_level_2.load"]["success"] >= 3
    assert platform.run("wave_pilot.from_the_command_line").options["batch_size"] == 7


def test_a_verification_finds_what_was_changed_in_medplum_since(
    airflow: LocalAirflow, platform: Platform, red_run: str
) -> None:
    run_id = airflow.trigger("verify", {"run": f"wave_pilot.{red_run}"})
    assert airflow.wait("verify", run_id, PATIENCE) == "success"
    with _client(platform) as client:
        patient = client.search("Patient", [("_count", "1")])["entry"][0]["resource"]
        client.batch([{"request": {"method": "DELETE", "url": f"Patient/{patient['id']}"}}], 100)
    run_id = airflow.trigger("verify", {"run": f"wave_pilot.{red_run}"})
    assert airflow.wait("verify", run_id, PATIENCE) == "failed"
    assert by_task(airflow, "verify", run_id) == {
        "choose_run": {"success": 1},
        "verify": {"success": 1},
        "conclude": {"failed": 1},
    }
    assert platform.report(f"wave_pilot.{red_run}")["verdict"] == "not proven"
    assert any("missing in Medplum of patient" in line for line in _log_lines(airflow, "verify", run_id, "conclude"))
    mended = airflow.trigger("wave_pilot", {"overwrite": True})
    assert airflow.wait("wave_pilot", mended, PATIENCE) == "success"


def test_a_replay_without_dead_letters_is_green_and_makes_no_run(airflow: LocalAirflow, platform: Platform) -> None:
    run_id = airflow.trigger("replay", {"run": "wave_pilot.from_the_command_line"})
    assert airflow.wait("replay", run_id, PATIENCE) == "success"
    states = by_task(airflow, "replay", run_id)
    assert states.pop("find_dead_letters") == {"success": 1}
    assert set().union(*states.values()) == {"skipped"}
    with pytest.raises(UnknownRun):
        platform.run(f"replay.{run_id}")


def test_an_aborted_run_fails_without_retries_and_is_over(airflow: LocalAirflow, platform: Platform) -> None:
    assert airflow.api is not None
    run_id = airflow.trigger("wave_rest")
    mine = f"wave_rest.{run_id}"
    airflow.api.until(lambda: controlled(platform, mine, "pause"), PATIENCE, "the run was not prepared")
    try:
        control = airflow.trigger("control", {"run": mine, "action": "abort"})
        assert airflow.wait("control", control, PATIENCE) == "success"
    finally:
        controlled(platform, mine, "abort")  # a run that stays paused holds up all tests after this one
    assert airflow.wait("wave_rest", run_id, PATIENCE) == "failed"
    assert (platform.run(mine).status, platform.leases()) == ("aborted", 0)
    failed = {key: state for key, state in airflow.task_states("wave_rest", run_id).items() if state == "failed"}
    assert ("conclude", -1) in failed
    tried = {_try_number(airflow, "wave_rest", run_id, f"{task}/{at}") for (task, at) in failed if at >= 0}
    assert tried == {1}


def controlled(platform: Platform, run_id: str, word: str) -> bool:
    """Pause or abort a run in the manifest; False while there is no such run."""
    with platform.manifest.begin() as connection:
        found = find_run(connection, run_id)
        set_control(connection, run_id, word)
    return found is not None


def test_the_form_of_a_medplum_connection_tests_it(airflow: LocalAirflow, platform: Platform) -> None:
    assert airflow.api is not None
    medplum = platform.medplum
    body = {"connection_id": "another", "conn_type": "medplum", "host": medplum.base_url, "login": medplum.client_id}
    good = airflow.api.request("POST", "connections/test", {**body, "password": medplum.client_secret})
    assert good == {"status": True, "message": "Token accepted; Medplum speaks FHIR 4.0.1."}
    bad = airflow.api.request("POST", "connections/test", {**body, "password": "wrong"})
    assert bad["status"] is False and "refused the client id and secret" in bad["message"]


def test_airflow_holds_no_patient_data(airflow: LocalAirflow, platform: Platform, red_run: str) -> None:
    legacy = (platform.folder / "legacy.db").read_bytes()
    assert all(word in legacy for word in PATIENTS)
    files = [path for path in airflow.home.rglob("*") if path.is_file()]
    assert any(red_run in str(path) for path in files)
    assert not {(path.name, word) for path in files for word in PATIENTS if word in path.read_bytes()}
    tables = dict(content_of(airflow.environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]))
    assert red_run.encode() in tables["dag_run"]
    assert not {(table, word) for table, rows in tables.items() for word in PATIENTS if word in rows}
    reports = [path for path in (platform.folder / "reports").rglob("*") if path.is_file()]
    assert reports and not [path for path in reports for word in PATIENTS if word in path.read_bytes()]


def test_xcoms_hold_ids_and_counts_only(airflow: LocalAirflow, red_run: str) -> None:
    assert airflow.api is not None
    entries = airflow.api.request("GET", f"dags/wave_pilot/dagRuns/{red_run}/taskInstances/~/xcomEntries", limit=100)
    seen = Counter(entry["task_id"] for entry in entries["xcom_entries"])
    assert {"prepare", "stage.extract", "stage.transform", "load_level_0.load", "verify"} <= seen.keys()
    links = {entry["key"] for entry in entries["xcom_entries"] if entry["key"].startswith("_link_")}
    assert links == {"_link_RunLink"}, "Airflow keeps the address of the page of a run there: its ids, and no more"
    for entry in (one for one in entries["xcom_entries"] if one["key"] not in links):
        path = f"dags/wave_pilot/dagRuns/{red_run}/taskInstances/{entry['task_id']}/xcomEntries/{entry['key']}"
        value = airflow.api.request("GET", path, map_index=entry["map_index"], deserialize=False)["value"]
        assert _is_small(json.loads(value) if isinstance(value, str) else value), (entry["task_id"], value)


def test_a_replay_brings_in_what_was_mended_after_a_wave(airflow: LocalAirflow, platform: Platform) -> None:
    wave = airflow.trigger("wave_rest")
    assert airflow.wait("wave_rest", wave, PATIENCE) == "success"
    with sqlite3.connect(platform.folder / "legacy.db") as legacy:
        legacy.execute("UPDATE patient SET born = '1985-02-28' WHERE id = 4")
    legacy.close()
    run_id = airflow.trigger("replay", {"run": f"wave_rest.{wave}", "slice_rows": 4})
    assert airflow.wait("replay", run_id, PATIENCE) == "success"
    assert by_task(airflow, "replay", run_id)["load_level_0.load"] == {"skipped": 1}
    run = platform.run(f"replay.{run_id}")
    assert (run.kind, run.status, run.replays) == ("replay", "succeeded", f"wave_rest.{wave}")
    rows = platform.report(f"replay.{run_id}")["rows"]
    assert isinstance(rows, list)
    assert {row["entity"]: (row["eligible"], row["successful"]) for row in rows} == {
        "patient": (4, 1),
        "weight": (10, 10),
    }


def test_a_run_that_is_cleared_after_a_later_one_is_refused(
    airflow: LocalAirflow, platform: Platform, red_run: str
) -> None:
    assert airflow.api is not None
    before = platform.run(f"wave_pilot.{red_run}")
    cleared = {"dry_run": False, "dag_run_id": red_run, "only_failed": False, "task_ids": ["prepare"]}
    airflow.api.request(
        "POST",
        "dags/wave_pilot/clearTaskInstances",
        {**cleared, "include_downstream": True, "reset_dag_runs": True},
    )
    assert airflow.wait("wave_pilot", red_run, PATIENCE) == "failed"
    assert any("LaterRun" in line for line in _log_lines(airflow, "wave_pilot", red_run, "prepare"))
    assert platform.run(f"wave_pilot.{red_run}") == before
    assert platform.leases() == 0


def test_the_schedule_verifies_everything_that_was_loaded(airflow: LocalAirflow) -> None:
    run_id = airflow.trigger("verify")
    airflow.wait("verify", run_id, PATIENCE)
    assert by_task(airflow, "verify", run_id)["verify"] == {"success": 1}
    assert any("Verification " in line for line in _log_lines(airflow, "verify", run_id, "conclude"))


def _is_small(value: object) -> bool:
    if isinstance(value, list):
        return all(isinstance(one, str) and len(one) < 40 for one in value)
    if isinstance(value, dict):
        return all(isinstance(one, int) for one in value.values())
    return value is None or isinstance(value, int)


def _client(platform: Platform) -> MedplumClient:
    medplum = platform.medplum
    return MedplumClient(medplum.base_url, medplum.client_id, medplum.client_secret)


def _try_number(airflow: LocalAirflow, dag_id: str, run_id: str, task: str) -> int:
    assert airflow.api is not None
    return int(airflow.api.request("GET", f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task}")["try_number"])


def _log_lines(airflow: LocalAirflow, dag_id: str, run_id: str, task_id: str) -> list[str]:
    found = Path(airflow.logs / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}").glob("*.log")
    return [line for path in found for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_api_is_not_open_to_strangers(airflow: LocalAirflow) -> None:
    assert httpx.get(f"{airflow.url}/api/v2/dags", timeout=30).status_code == 401
