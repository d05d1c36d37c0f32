"""What a real Airflow tells OpenLineage of a wave: which datasets, how many, and nothing of any patient."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medferry.manifest.accounting import AccountRow, accounts
from medferry.manifest.runs import RunStatus, get_run
from medferry_airflow.local import LocalAirflow, free_port
from tests import tiny_platform
from tests.airflow.conftest import PATIENCE, Platform, a_platform, an_airflow, log_of

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(1_500)]

Event = dict[str, Any]


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    """Its own, as its Airflow is: each task sends two events, each by a process of its own."""
    with a_platform() as made:
        yield made


@pytest.fixture(scope="module")
def airflow(platform: Platform) -> Iterator[LocalAirflow]:
    """Its events go into a file, and to a server that is away, which fails nothing."""
    away = {"type": "http", "url": f"http://127.0.0.1:{free_port()}", "timeout": 1, "retry": {"total": 0}}
    to = [{"type": "file", "log_file_path": str(_file(platform)), "append": True}, away]
    transport = json.dumps({"type": "composite", "transports": to})
    with an_airflow(platform, AIRFLOW__OPENLINEAGE__TRANSPORT=transport) as running:
        yield running


def _file(platform: Platform) -> Path:
    """OpenLineage's events, one a line, of all that ran."""
    return platform.folder / "lineage.json"


@pytest.fixture(scope="module")
def red_run(airflow: LocalAirflow, platform: Platform) -> str:
    """A DAG run of a wave that Medplum lets read, and not write."""
    platform.start_medplum()
    with platform.refusing(403):
        run_id = airflow.trigger("wave_pilot")
        assert airflow.wait("wave_pilot", run_id, PATIENCE) == "failed"
    return run_id


@pytest.fixture(scope="module")
def run_id(airflow: LocalAirflow, red_run: str) -> str:
    """A DAG run of a whole wave, after a red one."""
    run_id = airflow.trigger("wave_pilot")
    airflow.wait("wave_pilot", run_id, PATIENCE)
    return run_id


@pytest.fixture(scope="module")
def events(platform: Platform, run_id: str) -> list[Event]:
    """The last of each task instance of that DAG run."""
    return [event for event in _events(platform) if _dag_run(event) == run_id and event["eventType"] == "COMPLETE"]


@pytest.fixture(scope="module")
def rows(platform: Platform, run_id: str) -> list[AccountRow]:
    """The manifest's accounting."""
    with platform.manifest.begin() as connection:
        return accounts(connection, f"wave_pilot.{run_id}")


def _events(platform: Platform) -> Iterator[Event]:
    for line in _file(platform).read_text(encoding="utf-8").splitlines():
        yield json.loads(line)


def _dag_run(event: Event) -> str | None:
    told = event["run"]["facets"].get("airflow")
    return str(told["dagRun"]["run_id"]) if told else None


def of_task(events: list[Event], task_id: str) -> list[Event]:
    found = [event for event in events if event["job"]["name"].rpartition(".")[2] == task_id]
    assert found, task_id
    return found


def counted(event: Event) -> Event:
    """The facet of ours."""
    facet: Event = event["run"]["facets"]["medferry"]
    return facet


def names(datasets: list[Event]) -> set[tuple[str, str]]:
    return {(one["namespace"], one["name"]) for one in datasets}


def total(events: list[Event]) -> dict[str, Counter[str]]:
    """Entity → what the events of its slices have counted."""
    found: dict[str, Counter[str]] = {}
    for event in events:
        found.setdefault(counted(event)["entity"], Counter()).update(counted(event)["counts"])
    return found


def test_each_slice_is_extracted_from_its_tables(events: list[Event], rows: list[AccountRow]) -> None:
    extracted: Counter[str] = Counter()
    for event in of_task(events, "extract"):
        entity = counted(event)["entity"]
        assert names(event["inputs"]) == {("sqlite", entity)}
        [output] = event["outputs"]
        assert names([output]) == {("medferry://tiny", f"{entity}/rows")}
        extracted[entity] += output["outputFacets"]["outputStatistics"]["rowCount"]
    eligible: Counter[str] = Counter()
    for row in rows:
        eligible[row.entity] += row.eligible
    assert extracted == eligible


def test_each_slice_is_transformed_from_what_was_staged(events: list[Event]) -> None:
    for event in of_task(events, "transform"):
        entity = counted(event)["entity"]
        assert names(event["inputs"]) == {("medferry://tiny", f"{entity}/rows")}
        assert names(event["outputs"]) == {("medferry://tiny", f"{entity}/bundles")}


def test_what_is_loaded_is_counted_as_the_manifest_has_it(
    events: list[Event], rows: list[AccountRow], platform: Platform
) -> None:
    loads = of_task(events, "load")
    by_disposition, effects = total(loads), dict[str, Counter[str]]()
    produces = {name: spec.produces for name, spec in platform.environment().migration.specs.items()}
    namespace = platform.medplum.base_url.rstrip("/")
    for event in loads:
        entity = counted(event)["entity"]
        assert names(event["inputs"]) == {("medferry://tiny", f"{entity}/bundles")}
        assert names(event["outputs"]) == {(namespace, one) for one in produces[entity].values()}
        for output in event["outputs"]:
            did = {name: output["outputFacets"]["medferry"][name] for name in ("created", "updated", "unchanged")}
            written = output["outputFacets"]["outputStatistics"]["rowCount"]
            assert written == did["created"] + did["updated"]
            effects.setdefault(entity, Counter()).update(did)
    for entity in produces:
        of_entity = [row for row in rows if row.entity == entity]
        for disposition in ("successful", "rejected", "skipped", "quarantined", "pending"):
            assert by_disposition[entity][disposition] == sum(getattr(row, disposition) for row in of_entity)
        for effect in ("created", "updated", "unchanged"):
            assert effects[entity][effect] == sum(getattr(row, effect) for row in of_entity)
    assert sum(one.total() for one in effects.values()) > 0


def test_each_entity_is_a_job_of_its_own_with_the_run_s_accounting(
    run_id: str, rows: list[AccountRow], platform: Platform
) -> None:
    """Below the task that concludes."""
    ours = f"wave_pilot.{run_id}"
    ends = [
        event
        for event in _events(platform)
        if event["eventType"] in ("COMPLETE", "FAIL")
        and ".entity." in event["job"]["name"]
        and counted(event)["run"] == ours
    ]
    specs, namespace = platform.environment().migration.specs, platform.medplum.base_url.rstrip("/")
    assert sorted(event["job"]["name"] for event in ends) == sorted(f"wave_pilot.entity.{name}" for name in specs)
    for event in ends:
        entity = counted(event)["entity"]
        assert event["run"]["facets"]["parent"]["job"]["name"] == "wave_pilot.conclude"
        assert names(event["inputs"]) == {("sqlite", entity)}
        assert names(event["outputs"]) == {(namespace, one) for one in specs[entity].produces.values()}
        own = [row for row in rows if row.entity == entity]
        for name in ("eligible", "successful", "rejected", "skipped", "quarantined", "pending"):
            assert counted(event)["counts"][name] == sum(getattr(row, name) for row in own)
        for name in ("created", "updated", "unchanged"):
            told = sum(output["outputFacets"]["medferry"][name] for output in event["outputs"])
            assert told == sum(getattr(row, name) for row in own)
    with platform.manifest.begin() as connection:
        succeeded = get_run(connection, ours).status == RunStatus.SUCCEEDED
    assert {event["eventType"] for event in ends} == {"COMPLETE" if succeeded else "FAIL"}


def test_the_verification_asserts_its_checks_of_what_it_has_read(events: list[Event], platform: Platform) -> None:
    [event] = of_task(events, "verify")
    migration, namespace = platform.environment().migration, platform.medplum.base_url.rstrip("/")
    tables = {("sqlite", name) for name in migration.entities}
    types = {(namespace, one) for spec in migration.specs.values() for one in spec.produces.values()}
    assert names(event["inputs"]) == tables | types and not event["outputs"]
    checked = [one for one in event["inputs"] if one["namespace"] == namespace]
    for one in checked:
        assertions = one["inputFacets"]["dataQualityAssertions"]["assertions"]
        assert assertions and {assertion["success"] for assertion in assertions} <= {True, False}
    assert counted(event)["counts"]["equal"] > 0


def test_the_waves_assets_are_told_once_by_the_provider_itself(events: list[Event]) -> None:
    [event] = of_task(events, "verify")
    outlets = event["run"]["facets"]["airflow"]["task"]["outlets"]
    assert outlets.count("medferry://") == outlets.count("medferry://tiny/pilot/loaded") == 1


def test_a_red_log_ends_with_what_is_wrong_and_what_to_do(airflow: LocalAirflow, red_run: str) -> None:
    """Below what the provider says of the event that it could not send."""
    told = log_of(airflow, "wave_pilot", red_run, "load_level_0.load", 0)
    assert any("OpenLineage" in line for line in told)
    problem, remedy = told[-2:]
    assert problem.startswith("Unauthorised: ") and remedy.startswith("What to do: ")


def test_nothing_of_a_patient_and_no_secret_is_told(platform: Platform, events: list[Event]) -> None:
    """Of the red run, too."""
    told = _file(platform).read_text(encoding="utf-8")
    assert len(told.splitlines()) > len(events) > 0
    born = [str(row[4]) for row in tiny_platform._PATIENTS]
    secrets = [platform.medplum.client_secret, str(platform.folder / "legacy.db")]
    for word in ("Lindqvist", "Okafor", "F" * 50, *born, *secrets):
        assert word not in told, word
