"""The pages of the runs in Airflow's API server: who may ask, what they show, and what they never do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from airflow.api_fastapi.core_api import security
from airflow.api_fastapi.core_api.security import requires_access_dag, requires_access_view
from airflow.sdk import DAG
from fastapi import Depends
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from medferry.manifest import turns
from medferry.manifest.database import create_manifest, open_manifest
from medferry.manifest.kinds import RunKind
from medferry.manifest.runs import Control, RunRow, RunStatus, SliceStage, add_run, set_control
from medferry.manifest.tables import slice_, source_record
from medferry.mapping.outcomes import Disposition
from medferry.source.slices import SliceSpec
from medferry_airflow import runs_api
from medferry_airflow.addresses import OF_A_RUN, RunLink
from medferry_airflow.of_address import of_address
from medferry_airflow.web import app
from tests import tiny_platform
from tests.dags.conftest import ROOT

DAG_RUN = "manual__2026-11-22T20:00:00+00:00"


def run_of(run_id: str, started: str, **values: Any) -> RunRow:
    row = {
        "id": run_id,
        "migration": "tiny",
        "kind": RunKind.WAVE,
        "status": RunStatus.RUNNING,
        "units": ["north"],
        "entities": ["patient"],
        "options": {"dry_run": False},
        "fingerprint": "f",
        "started_at": started,
        "finished_at": None,
    }
    return RunRow(**{**row, **values})


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> sa.Engine:
    """A wave at work, a dry run behind it, a cut of the synchronisation, and a run of another migration."""
    url = f"sqlite:///{tmp_path}/manifest.db"
    monkeypatch.setenv("MEDFERRY_MANIFEST_URL", url)
    monkeypatch.setattr(runs_api, "require_pool", lambda: None)  # there is no database of Airflow's
    monkeypatch.setenv("MEDFERRY_MIGRATION", str(tiny_platform.MIGRATION))
    create_manifest(url)
    engine = open_manifest(url)
    over = {"status": RunStatus.SUCCEEDED, "finished_at": "2026-11-22T19:00:00.000Z"}
    with engine.begin() as connection:
        spec = SliceSpec("patient", ("north",), None, None, 4)
        add_run(connection, run_of(f"wave_pilot.{DAG_RUN}", "2026-11-22T20:00:00.000Z"), [(1, spec)])
        dry = {"options": {"dry_run": True}, **over}
        add_run(connection, run_of("rehearsal", "2026-11-22T18:00:00.000Z", **dry), [])
        add_run(connection, run_of("cut", "2026-11-22T18:30:00.000Z", kind="sync_pilot", **over), [])
        add_run(connection, run_of("foreign", "2026-11-22T18:30:00.000Z", migration="other", **over), [])
        connection.execute(sa.update(slice_).values(stage=SliceStage.LOADED))
        for key, disposition in enumerate([Disposition.SUCCESSFUL, Disposition.QUARANTINED, Disposition.PENDING]):
            reason = "impossible-date" if disposition == Disposition.QUARANTINED else ""
            line = {"run_id": f"wave_pilot.{DAG_RUN}", "entity": "patient", "key": f"Byron-{key}", "unit": "north"}
            told = {"slice_id": "patient-00000", "disposition": disposition, "reason": reason, "mapping_version": "1"}
            connection.execute(sa.insert(source_record).values(**line, **told))
    return engine


@pytest.fixture
def client(manifest: sa.Engine) -> Iterator[TestClient]:
    """One whom Airflow lets in everywhere."""
    asked = [each.call for route in app.routes if isinstance(route, APIRoute) for each in route.dependant.dependencies]
    app.dependency_overrides = {call: lambda: None for call in asked if call and call is not of_address}
    yield TestClient(app)
    app.dependency_overrides = {}


def made_by(maker: Callable[..., Any], route: APIRoute) -> bool:
    """Whether a route asks for what `maker` makes."""
    return any(maker.__qualname__ in getattr(each.call, "__qualname__", "") for each in route.dependant.dependencies)


def closed(route: Any) -> bool:
    """Whether an address asks who it is, and, but for the routing, whether that one may read the runs of its DAG."""
    if not isinstance(route, APIRoute) or not made_by(requires_access_view, route):
        return False
    return route.path.endswith("/routing") or made_by(requires_access_dag, route)


def test_every_address_asks_who_it_is() -> None:
    assert [route for route in app.routes if not closed(route)] == []
    of_all = {"/routing", "/runs", "/runs/{run_id:path}", "/report/{run_id:path}"}
    assert {route.path for route in app.routes if isinstance(route, APIRoute)} == {
        *of_all,
        *(f"/of/{{migration}}{path}" for path in of_all),
        "/dags/{dag_id}/runs/{run_id:path}",
        "/dags/{dag_id}/report/{run_id:path}",
    }
    methods = set[str]().union(*(route.methods for route in app.routes if isinstance(route, APIRoute)))
    assert methods == {"GET"}


def test_an_open_address_is_found() -> None:
    asks = Depends(requires_access_view(None))  # type: ignore[arg-type]
    assert not closed(APIRoute("/new", lambda: None))
    assert not closed(APIRoute("/runs", lambda: None, dependencies=[asks]))


class OneDag:
    """An auth manager whose user may read the runs of one DAG; of no DAG in particular it says yes, as FAB's does."""

    def is_authorized_view(self, **_: Any) -> bool:
        return True

    def is_authorized_dag(self, *, details: Any, **_: Any) -> bool:
        return details.id in (None, "wave_pilot")


def test_who_may_read_one_dag_sees_its_runs_alone(
    manifest: sa.Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(security, "get_auth_manager", OneDag)
    monkeypatch.setattr(security.DagModel, "get_team_name", lambda *_: None)
    app.dependency_overrides = {security.get_user: lambda: None}
    try:
        client = TestClient(app)
        own, mine = f"dags/wave_pilot/runs/{DAG_RUN}", {"dag_id": "wave_pilot"}
        assert client.get(own).status_code == client.get(own.replace("runs", "report")).status_code == 200
        for other in ("runs", "runs/rehearsal", "report/rehearsal", "dags/big_bang/runs/r", "dags/big_bang/report/r"):
            assert client.get(other).status_code == client.get(other, params=mine).status_code == 403, other
        assert client.get(f"dags/~/runs/wave_pilot.{DAG_RUN}").status_code == 404
    finally:
        app.dependency_overrides = {}


def test_the_list_tells_kind_dry_and_verdict_of_this_migration_s_runs(client: TestClient, manifest: sa.Engine) -> None:
    answer = client.get("/runs")
    assert answer.status_code == 200 and "<script" not in answer.text
    found = re.findall(r"<code>(.*?)</code>.*?<span class=\"badge\">(.*?)</span>", answer.text)
    assert found == [(f"wave_pilot.{DAG_RUN}", "RUNNING"), ("rehearsal", "NOT VERIFIED")]
    assert answer.text.count('class="dry"') == 1
    assert "<code>cut</code>" in client.get("/runs", params={"cuts": True}).text
    with manifest.begin() as connection:
        turns.stand(connection, "tiny", "big_bang.next")
    assert "WAITS FOR ITS TURN</span> <code>big_bang.next</code>" in client.get("/runs").text


def test_a_run_tells_progress_and_dead_letters_by_counts_and_no_key(client: TestClient, manifest: sa.Engine) -> None:
    answer = client.get(f"/runs/wave_pilot.{DAG_RUN}")
    assert "2 of 4 source records are decided" in answer.text and "1 of 1" in answer.text
    assert "impossible-date" in answer.text and "Byron" not in answer.text
    assert 'http-equiv="refresh"' in answer.text and "RUNNING" in answer.text
    with manifest.begin() as connection:
        set_control(connection, f"wave_pilot.{DAG_RUN}", Control.PAUSE)
    assert "<b>PAUSED</b>" in client.get(f"/runs/wave_pilot.{DAG_RUN}").text


def test_the_tab_of_a_dag_run_finds_its_run(client: TestClient, manifest: sa.Engine) -> None:
    answer = client.get(f"/dags/wave_pilot/runs/{DAG_RUN.replace('+', '%2B')}")
    assert answer.status_code == 200
    report = re.search(r'iframe sandbox src="(.*?)"', answer.text)
    assert report and client.get(report[1]).status_code == 200
    again = run_of(f"wave_pilot.{DAG_RUN}.2", "2026-11-22T21:00:00.000Z")
    with manifest.begin() as connection:
        add_run(connection, again, [])
        add_run(connection, run_of(f"wave_pilot.{DAG_RUN}.x", "2026-11-22T22:00:00.000Z"), [])
    answer = client.get(f"/dags/wave_pilot/runs/{DAG_RUN}")
    assert f"<h1><code>{again.id}</code></h1>" in answer.text and f"<code>wave_pilot.{DAG_RUN}</code>" in answer.text
    nothing = client.get(f"/dags/control/runs/{DAG_RUN}")
    assert nothing.status_code == 404 and "No load or replay belongs to this DAG run." in nothing.text


def test_the_report_is_shown_in_a_sandbox_and_nothing_is_kept(client: TestClient) -> None:
    answer = client.get("/report/rehearsal")
    assert answer.status_code == 200 and "<h1>Dry run: " in answer.text
    assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")
    for address in ("/report/rehearsal", "/runs", "/runs/rehearsal", "/runs/nothing"):
        headers = client.get(address).headers
        assert headers["cache-control"] == "no-store" and headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]


def test_a_run_of_another_migration_is_not_shown(client: TestClient) -> None:
    assert client.get("/runs/foreign").status_code == client.get("/report/foreign").status_code == 404


def test_without_a_manifest_it_says_what_to_do(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDFERRY_MANIFEST_URL", "sqlite:///relative.db")
    answer = client.get("/runs")
    assert answer.status_code == 503 and "Set it for all of Airflow" in answer.text
    monkeypatch.setenv("MEDFERRY_MANIFEST_URL", "sqlite:////nowhere/manifest.db")
    assert "There is no manifest" in client.get("/runs").text


def test_a_broken_mapping_leaves_the_list_and_the_run(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "plan.yaml").write_text((tiny_platform.MIGRATION / "plan.yaml").read_text())
    monkeypatch.setenv("MEDFERRY_MIGRATION", str(folder))
    assert client.get("/runs").status_code == client.get("/runs/rehearsal").status_code == 200
    assert client.get("/report/rehearsal").status_code == 503


def test_every_run_has_a_link_to_its_page(migration_dags: list[DAG], monkeypatch: pytest.MonkeyPatch) -> None:
    for dag in migration_dags:
        for task_id in ("prepare", "conclude"):
            [link] = dag.get_task(task_id).operator_extra_links
            assert isinstance(link, RunLink)

    class Key:
        dag_id, run_id = "wave_pilot", DAG_RUN

    end = f"/dags/wave_pilot/runs/manual__2026-11-22T20%3A00%3A00%2B00%3A00/plugin/{OF_A_RUN}"
    assert RunLink().get_link(None, ti_key=Key()) == end
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://host.example/airflow/")
    assert RunLink().get_link(None, ti_key=Key()) == f"/airflow{end}"


def test_the_plugin_shows_the_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "plugins")
    from medferry_pages import MedferryPlugin  # type: ignore[import-not-found]

    [every, of_run] = MedferryPlugin().external_views
    assert (every["href"], of_run["href"]) == ("/medferry/runs", "/medferry/dags/{DAG_ID}/runs/{RUN_ID}")
    [mounted] = MedferryPlugin().fastapi_apps
    assert (mounted["app"], mounted["url_prefix"]) == (app, "/medferry")
