"""Several migrations in one Airflow: each with DAGs, connections, places and pages of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from medferry.cutover.routing import ALL_OTHER, Route, Routing, Writes
from medferry.cutover.routing_file import publish
from medferry.errors import DefinitionError, SettingsError
from medferry.fhir.sides import Side
from medferry.manifest.database import create_manifest, open_manifest
from medferry.manifest.runs import add_run
from medferry.runtime.several import MIGRATION, SharedByMigrations
from medferry_airflow import definition, late, runs_api
from medferry_airflow.connections import settings_from_connections
from medferry_airflow.definition import NotServed, at_work, current_migration, served_as, served_by
from medferry_airflow.factory import TAGS
from medferry_airflow.names import own_connection
from medferry_airflow.of_address import of_address
from medferry_airflow.tasks import environment as of_tasks
from medferry_airflow.web import app
from tests.dags.conftest import parse
from tests.dags.test_runs_pages import DAG_RUN, run_of
from tests.tiny_platform import copy_as

WORDS = {"big_bang", "control", "panic", "replay", "verify", "wave_pilot", "wave_rest"}
MOVING = ("cutover", "rollback", "rehearse", "retire")


@dataclass(frozen=True)
class Two:
    """The folders of two migrations; where their systems are is in the environment."""

    place: Path

    @property
    def listed(self) -> str:
        return f"{self.place}/tiny,{self.place}/other"

    def file(self, name: str) -> Path:
        return self.place / "other" / name

    def dags(self) -> dict[str, DAG]:
        bag = parse(self.listed)
        assert bag.import_errors == {}
        return bag.dags


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Two:
    for name in ("tiny", "other"):
        copy_as(name, tmp_path / name)
        (tmp_path / "of" / name).mkdir(parents=True)
    found = Two(tmp_path)
    monkeypatch.setenv("MEDFERRY_MIGRATION", found.listed)
    monkeypatch.setenv("MEDFERRY_MANIFEST_URL", f"sqlite:///{tmp_path}/of/{MIGRATION}/manifest.db")
    monkeypatch.setenv("MEDFERRY_STAGING_URL", f"{tmp_path}/of/{MIGRATION}/staging")
    monkeypatch.setenv("MEDFERRY_ROUTING_FILE", f"{tmp_path}/of/{MIGRATION}/routing.json")
    return found


# -- the DAGs --------------------------------------------------------------------------------------


def test_each_has_every_dag_under_its_name_with_its_tag_and_its_connections(two: Two) -> None:
    dags = two.dags()
    assert set(dags) == {f"{name}-{word}" for name in ("tiny", "other") for word in WORDS}
    assert len({dag.dag_display_name for dag in dags.values()}) == len(dags)
    for dag_id, dag in dags.items():
        name = dag_id.partition("-")[0]
        assert name in dag.tags and set(dag.tags) <= {*TAGS, name}
        assert dag.dag_display_name.startswith(f"{name}: ")
        assert f"`medplum_default_{name}`" in str(dag.doc_md)
    assert "`legacy_tiny`" in str(dags["tiny-verify"].doc_md), "its plan names it so already"
    assert "`legacy_tiny_other`" in str(dags["other-verify"].doc_md), "its plan was copied"


def test_who_is_asked_reads_of_which_migration(two: Two) -> None:
    two.file("gate.yaml").write_text("medplum: {}\n")
    dags = two.dags()
    moving = {f"other-{word}_{wave}" for word in MOVING for wave in ("pilot", "rest")}
    assert {dag_id for dag_id in dags if dag_id.split("-")[1].startswith(MOVING)} == moving
    for word, task_id in (("cutover", "approval.approve"), ("rollback", "approval.approve"), ("retire", "approve")):
        question = dags[f"other-{word}_pilot"].get_task(task_id).subject  # type: ignore[attr-defined]
        assert question.startswith("other: May ") and "pilot" in question


def test_one_that_is_broken_leaves_the_other(two: Two) -> None:
    two.file("mappings/patient.py").write_text("import nothing_of_that_name\n")
    dags = two.dags()
    assert set(dags) == {f"{name}-{word}" for name in ("tiny", "other") for word in WORDS}
    assert {dag_id.partition("-")[0] for dag_id, dag in dags.items() if "broken" in dag.tags} == {"other"}
    assert "ModuleNotFoundError" in str(dags["other-verify"].doc_md)
    two.file("plan.yaml").write_text("name: [")
    dags = two.dags()
    assert {dag_id for dag_id, dag in dags.items() if "broken" in dag.tags} == {
        f"other-{word}" for word in (WORDS - {"wave_pilot", "wave_rest"}) | {"waves"}
    }
    shutil.rmtree(two.place / "other")
    assert "there is no such migration" in str(two.dags()["other-verify"].doc_md)


def test_the_process_of_a_task_reads_no_other_s_files(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    read = two.place / "read"
    two.file("mappings/patient.py").write_text(f"open({str(read)!r}, 'a')\nimport nothing_of_that_name\n")
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "tiny-wave_pilot")
    assert set(two.dags()) == {f"tiny-{word}" for word in WORDS}
    assert not read.exists()
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "somebody_else's")
    assert len(two.dags()) == 2 * len(WORDS)
    assert read.exists()


@pytest.mark.parametrize("variable", ["MEDFERRY_SOURCE_URL", "MEDFERRY_LEGACY_WRITER_URL", "MEDFERRY_ROUTING_FILE"])
def test_what_two_may_not_share_is_told_on_every_page(two: Two, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "/srv/legacy.db")
    for dag in two.dags().values():
        assert "broken" in dag.tags and variable in str(dag.doc_md) and MIGRATION in str(dag.doc_md)
    with pytest.raises(SharedByMigrations, match=variable):
        two.dags()["tiny-wave_pilot"].tasks[0].python_callable()  # type: ignore[attr-defined]
    monkeypatch.setenv(variable, f"/srv/{MIGRATION}.db")
    assert not any("broken" in dag.tags for dag in two.dags().values())


def test_a_folder_has_its_plan_s_name_and_no_other_has_it(two: Two, tmp_path: Path) -> None:
    shutil.move(two.place / "other", two.place / "Other-one")
    dags = parse(f"{two.place}/tiny,{two.place}/Other-one").dags
    assert {dag_id for dag_id in dags if dag_id.startswith("tiny-")} == {f"tiny-{word}" for word in WORDS}
    assert "the plan calls it other" in str(dags["Other_one-verify"].doc_md)
    assert "broken" not in dags["tiny-verify"].tags
    copy_as("tiny", tmp_path / "again" / "tiny")
    dags = parse(f"{two.place}/tiny,{tmp_path}/again/tiny").dags
    assert "another migration is called tiny" in str(dags["tiny-verify"].doc_md)
    assert all("broken" in dag.tags for dag in dags.values())


def test_no_name_is_the_end_of_another_s(two: Two) -> None:
    """The probe `ward_old` of tiny and the probe `ward` of old_tiny would be one connection: a gate, proven by the
    wrong user."""
    copy_as("old_tiny", two.place / "old_tiny")
    dags = parse(f"{two.place}/tiny,{two.place}/other,{two.place}/old_tiny").dags
    told = {name: str(dags[f"{name}-verify"].doc_md) for name in ("tiny", "other", "old_tiny")}
    assert "another migration is called old_tiny" in told["tiny"]
    assert "another migration is called tiny" in told["old_tiny"]
    assert "another migration" not in told["other"]


# -- a task ----------------------------------------------------------------------------------------


def at_work_in(dag_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(definition, "get_current_context", lambda: {"dag": SimpleNamespace(dag_id=dag_id)})


def test_a_task_is_of_the_migration_of_its_dag(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two tasks of one process, one after the other and back: nothing is left of the one before."""
    for name in ("tiny", "other", "tiny"):
        at_work_in(f"{name}-wave_pilot", monkeypatch)
        systems = of_tasks.environment()
        assert current_migration().name == systems.migration.name == name
        assert f"/of/{name}/manifest.db" in systems.settings.manifest_url
        assert f"/of/{name}/staging" in systems.settings.staging_url


@pytest.mark.parametrize("dag_id", ["wave_pilot", "tiny", "tinyish-wave_pilot", "other_-wave_pilot"])
def test_a_dag_of_none_of_them_does_nothing(two: Two, monkeypatch: pytest.MonkeyPatch, dag_id: str) -> None:
    at_work_in(dag_id, monkeypatch)
    with pytest.raises(NotServed, match="of no migration that MEDFERRY_MIGRATION lists: tiny, other"):
        of_tasks.environment()


def test_outside_of_a_task_none_is_meant(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotServed):
        at_work()
    monkeypatch.setenv("MEDFERRY_MIGRATION", f"{two.place}/other")
    assert at_work().alone and current_migration().name == "other"


def test_no_connection_is_that_of_another(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny, other = served_as("tiny").plan, served_as("other").plan
    monkeypatch.setenv("AIRFLOW_CONN_LEGACY_TINY", "sqlite:////tiny.db")
    monkeypatch.setenv("AIRFLOW_CONN_MEDFERRY_LEGACY_WRITER_TINY", "sqlite:////written.db")
    assert settings_from_connections(tiny).source_url == "sqlite:////tiny.db"
    assert settings_from_connections(tiny).legacy_writer_url == "sqlite:////written.db"
    with pytest.raises(SettingsError, match="no connection legacy_tiny_other, and its legacy_tiny is of none"):
        settings_from_connections(other)
    monkeypatch.setenv("AIRFLOW_CONN_LEGACY_TINY_OTHER", "sqlite:////other.db")
    assert settings_from_connections(other).source_url == "sqlite:////other.db"
    assert settings_from_connections(other).legacy_writer_url == ""


@pytest.mark.parametrize(
    "conn_id", ["medplum_default", "medferry_capture", "medferry_legacy_writer", "medferry_store", "medferry_pepper"]
)
def test_a_connection_of_no_migration_is_refused(two: Two, monkeypatch: pytest.MonkeyPatch, conn_id: str) -> None:
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps({"conn_type": "generic", "password": "x"}))
    with pytest.raises(SettingsError, match=f"no connection {conn_id}_tiny, and its {conn_id} is of none"):
        settings_from_connections(served_as("tiny").plan)


@pytest.mark.parametrize(
    ("migration", "conn_id", "own"),
    [
        ("labs", "legacy_labs", "legacy_labs"),
        ("labs", "medplum_default", "medplum_default_labs"),
        ("default", "medplum_default", "medplum_default_default"),
        ("store", "medferry_store", "medferry_store_store"),
        ("writer", "medferry_legacy_writer", "medferry_legacy_writer_writer"),
    ],
)
def test_no_name_of_a_migration_makes_a_connection_for_one_its_own(migration: str, conn_id: str, own: str) -> None:
    assert own_connection(migration, conn_id) == own


def test_who_is_late_is_told_by_name(two: Two, caplog: pytest.LogCaptureFixture) -> None:
    plan = two.file("plan.yaml")
    sync = 'sync: {schedule: "*/5 * * * *", since: 2026-01-01, max_lag_seconds: 60}'
    plan.write_text(plan.read_text().replace("units: [north]}", f"units: [north], {sync}}}"))
    [alert] = two.dags()["other-sync_pilot"].deadline
    assert (alert.name, alert.callback.kwargs) == ("other-sync_pilot is late", {"wave": "other-pilot"})
    late.tell_late(**alert.callback.kwargs)
    assert "The wave other-pilot is late" in caplog.text


# -- the pages -------------------------------------------------------------------------------------


@pytest.fixture
def client(two: Two, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """One whom Airflow lets in everywhere, and a run of each migration, of the same DAG run but for the DAG."""
    monkeypatch.setattr(runs_api, "require_pool", lambda: None)  # there is no database of Airflow's
    for name in ("tiny", "other"):
        url = f"sqlite:///{two.place}/of/{name}/manifest.db"
        create_manifest(url)
        with open_manifest(url).begin() as connection:
            run = run_of(f"{name}-wave_pilot.{DAG_RUN}", "2026-11-22T20:00:00.000Z", migration=name)
            add_run(connection, run, [])
    asked = [each.call for route in app.routes if isinstance(route, APIRoute) for each in route.dependant.dependencies]
    app.dependency_overrides = {call: lambda: None for call in asked if call and call is not of_address}
    yield TestClient(app)
    app.dependency_overrides = {}


def test_each_has_its_list_and_its_runs(client: TestClient) -> None:
    for name, another in (("tiny", "other"), ("other", "tiny")):
        run_id = f"{name}-wave_pilot.{DAG_RUN}"
        shown = client.get(f"/of/{name}/runs").text
        assert f"<code>{run_id}</code>" in shown and f"{another}-wave_pilot" not in shown
        assert f'href="/of/{name}/runs/{name}-wave_pilot' in shown
        assert client.get(f"/of/{name}/runs/{run_id}").status_code == 200
        assert client.get(f"/of/{another}/runs/{run_id}").status_code == 404
        assert client.get(f"/of/{another}/report/{run_id}").status_code == 404


def test_without_a_name_they_are_offered(client: TestClient) -> None:
    for address in ("/runs", "/of/nobody/runs", f"/dags/wave_pilot/runs/{DAG_RUN}"):
        told = client.get(address)
        assert told.status_code == 300, address
        assert 'href="/of/tiny/runs"' in told.text and 'href="/of/other/runs"' in told.text


def test_a_dag_says_of_which_its_run_is(client: TestClient) -> None:
    for name in ("tiny", "other"):
        shown = client.get(f"/dags/{name}-wave_pilot/runs/{DAG_RUN}")
        assert shown.status_code == 200 and f"<code>{name}-wave_pilot.{DAG_RUN}</code>" in shown.text
        assert f'href="/of/{name}/runs"' in shown.text
        assert f'src="/dags/{name}-wave_pilot/report/' in shown.text


def test_a_broken_one_takes_no_page_of_the_other(client: TestClient, two: Two) -> None:
    two.file("plan.yaml").write_text("name: [")
    assert client.get("/of/tiny/runs").status_code == 200
    broken = client.get("/of/other/runs")
    assert broken.status_code == 503 and "plan.yaml" in broken.text


def test_each_has_its_routing(client: TestClient, two: Two) -> None:
    route = Route(unit="north", domain=ALL_OTHER, reads=Side.MEDPLUM, writes=Writes.MEDPLUM, epoch=1)
    publish(two.place / "of/other/routing.json", lambda: Routing.of("other", [route]))
    assert client.get("/of/other/routing").json()["migration"] == "other"
    assert client.get("/of/tiny/routing").status_code == 404
    assert client.get("/routing").status_code == 300


def test_the_name_is_judged_where_the_whole_is_read(two: Two) -> None:
    shutil.move(two.place / "other", two.place / "another")
    found = served_by("tiny-verify")
    assert found.migration.name == "tiny"
    with pytest.raises(DefinitionError, match="the plan calls it other"):
        assert definition.Served(f"{two.place}/another", alone=False).migration
