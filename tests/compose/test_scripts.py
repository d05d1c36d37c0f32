"""The scripts that the one-shot services run."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from medferry.definition.access import access_policy
from medferry.definition.migration import load_migration
from tests.compose.environment import ROOT

DOCKER = ROOT / "docker"


# -- the demo's legacy database ------------------------------------------------------------------------------


def _fill(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(DOCKER / "fill_legacy.py"), "--url", f"sqlite:///{folder}/legacy.db"]
    arguments = ["--seed", "7", "--patients", "5", "--truth", str(folder / "truth.json")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "include")}
    return subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True)


def _rows(folder: Path) -> int:
    with sa.create_engine(f"sqlite:///{folder}/legacy.db").connect() as connection:
        return int(connection.execute(sa.text("SELECT count(*) FROM patients")).scalar_one())


def test_legacy_database_is_filled_once(tmp_path: Path) -> None:
    first = _fill(tmp_path)
    rows, truth = _rows(tmp_path), (tmp_path / "truth.json").read_bytes()
    assert first.returncode == 0, first.stderr
    assert rows >= 5
    second = _fill(tmp_path)
    assert second.returncode == 0
    assert "filled already" in second.stdout
    assert (_rows(tmp_path), (tmp_path / "truth.json").read_bytes()) == (rows, truth)


def test_another_failure_is_a_failure(tmp_path: Path) -> None:
    assert _fill(tmp_path / "missing").returncode != 0


# -- Medplum's project and client ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def medplum_client() -> ModuleType:
    spec = importlib.util.spec_from_file_location("medplum_client", DOCKER / "medplum_client.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Medplum:
    """Answers as Medplum's documentation says; `requests` holds what was asked, `projects` what there is."""

    def __init__(self, projects: tuple[str, ...] = (), refuse: str = "") -> None:
        self.projects = list(projects)
        self.refuse = refuse
        self.requests: list[tuple[str, str]] = []
        self.memberships = 1
        self.configuration: dict[str, Any] = {}
        self.membership: dict[str, Any] = {}
        self.policy: dict[str, Any] = {}

    def client(self) -> httpx.Client:
        return httpx.Client(base_url="http://medplum/", transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.requests.append((request.method, path))
        if self.refuse and self.refuse in path:
            return httpx.Response(400, json={"resourceType": "OperationOutcome", "echo": request.content.decode()})
        if path == "/oauth2/token":
            assert b"client_secret=the-secret" in request.content
            return httpx.Response(200, json={"access_token": "token"})
        assert request.headers["Authorization"] == "Bearer token"
        if path == "/fhir/R4/Project/$init":
            given = {one["name"]: one["valueString"] for one in json.loads(request.content)["parameter"]}
            assert given == {"name": "Clinics", "ownerEmail": "admin@example.com"}
            return httpx.Response(201, json={"resourceType": "Project", "id": "new"})
        if path == "/fhir/R4/Project":
            found = [{"resource": {"id": f"p{n}", "name": name}} for n, name in enumerate(self.projects)]
            return httpx.Response(200, json={"resourceType": "Bundle", "entry": found} if found else {})
        if path.startswith("/fhir/R4/ProjectMembership"):
            return self._membership(request)
        if path == "/fhir/R4/UserConfiguration":
            self.configuration = json.loads(request.content)
            return httpx.Response(201, json={**self.configuration, "id": "configuration"})
        if path == "/fhir/R4/AccessPolicy":
            self.policy = json.loads(request.content)
            return httpx.Response(201, json={**self.policy, "id": "policy"})
        assert json.loads(request.content)["name"] == "Medferry"
        return httpx.Response(201, json={"id": f"client-of-{path.split('/')[3]}", "secret": "s"})

    def _membership(self, request: httpx.Request) -> httpx.Response:
        if request.method == "PUT":
            assert request.url.path.endswith("/membership")
            self.membership = json.loads(request.content)
            return httpx.Response(200, json=self.membership)
        assert request.url.params["profile"] == "ClientApplication/client-of-p0"
        found = [{"resource": {**MEMBERSHIP, "id": "membership"}}] * self.memberships
        return httpx.Response(200, json={"resourceType": "Bundle", "entry": found})


MEMBERSHIP = {
    "resourceType": "ProjectMembership",
    "project": {"reference": "Project/p0"},
    "profile": {"reference": "ClientApplication/client-of-p0"},
    "accessPolicy": {"reference": "AccessPolicy/a"},
}


def _run(module: ModuleType, medplum: Medplum) -> str:
    with medplum.client() as http:
        module.sign_in(http, "id", "the-secret")
        project = module.project_id(http, "Clinics", "admin@example.com")
        return str(module.make_client(http, project)["id"])


def test_project_and_client_are_made(medplum_client: ModuleType) -> None:
    medplum = Medplum()
    assert _run(medplum_client, medplum) == "client-of-new"
    assert medplum.requests == [
        ("POST", "/oauth2/token"),
        ("GET", "/fhir/R4/Project"),
        ("POST", "/fhir/R4/Project/$init"),
        ("POST", "/admin/projects/new/client"),
    ]


def test_project_of_that_name_is_used_again(medplum_client: ModuleType) -> None:
    assert _run(medplum_client, Medplum(("Clinics East", "Clinics"))) == "client-of-p1"


def test_two_projects_of_that_name_are_refused(medplum_client: ModuleType) -> None:
    with pytest.raises(medplum_client.SetupError, match="2 projects"):
        _run(medplum_client, Medplum(("Clinics", "Clinics")))


@pytest.mark.parametrize("path", ["oauth2/token", "Project", "$init", "admin/projects"])
def test_refusal_tells_the_step_and_no_credential(medplum_client: ModuleType, path: str) -> None:
    with pytest.raises(medplum_client.SetupError, match="answered 400 to the step") as caught:
        _run(medplum_client, Medplum(refuse=path))
    assert "the-secret" not in str(caught.value)


def test_the_quota_is_set_on_the_new_client_s_membership_and_nothing_else_is(medplum_client: ModuleType) -> None:
    medplum = Medplum()
    with medplum.client() as http:
        medplum_client.sign_in(http, "id", "the-secret")
        bounds = medplum_client.bound_by_quota(http, "p0", 500_000)
        medplum_client.set_bounds(http, "p0", "client-of-p0", bounds)
    assert medplum.configuration["option"] == [{"id": "fhirQuota", "valueInteger": 500_000}]
    assert medplum.configuration["meta"] == {"project": "p0"}
    configured = {"userConfiguration": {"reference": "UserConfiguration/configuration"}}
    assert medplum.membership == {**MEMBERSHIP, "id": "membership", **configured}


@pytest.mark.parametrize("number", [0, 2])
def test_a_client_whose_membership_is_not_clear_is_refused(medplum_client: ModuleType, number: int) -> None:
    medplum = Medplum()
    medplum.memberships = number
    with medplum.client() as http:
        medplum_client.sign_in(http, "id", "the-secret")
        with pytest.raises(medplum_client.SetupError, match=f"{number} memberships"):
            medplum_client.set_bounds(http, "p0", "client-of-p0", {"accessPolicy": {"reference": "AccessPolicy/mine"}})
    assert medplum.membership == {}


@pytest.mark.parametrize("quota", ["0", "-5", "much", "1.5"])
def test_a_quota_that_is_no_number_of_points_is_refused(
    quota: str, medplum_client: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        medplum_client.main([f"--quota={quota}"])
    assert f"'{quota}' is not a number of points" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [[], ["--quota", "500000"], ["--policy", str(DOCKER / "clinics_policy.json"), "--quota", "500000"]],
    ids=["unbounded", "raised quota", "policy and quota"],
)
def test_prints_lines_for_the_environment(
    arguments: list[str],
    medplum_client: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in {
        "MEDPLUM_BASE_URL": "http://medplum/",
        "MEDPLUM_SUPER_ADMIN_CLIENT_ID": "id",
        "MEDPLUM_SUPER_ADMIN_CLIENT_SECRET": "the-secret",
        "MEDPLUM_SUPER_ADMIN_EMAIL": "admin@example.com",
        "MEDPLUM_PROJECT": "Clinics",
    }.items():
        monkeypatch.setenv(name, value)
    medplum = Medplum(("Clinics",))
    http = medplum.client()
    monkeypatch.setattr(medplum_client.httpx, "Client", lambda **_: http)
    medplum_client.main(arguments)
    assert capsys.readouterr().out == "MEDPLUM_CLIENT_ID=client-of-p0\nMEDPLUM_CLIENT_SECRET=s\n"
    assert bool(medplum.configuration) is bool(medplum.membership) is bool(arguments)
    bounded = "--policy" in arguments
    assert bool(medplum.policy) is bounded
    assert not arguments or (medplum.membership["accessPolicy"]["reference"] == "AccessPolicy/policy") is bounded


def test_the_policy_of_the_demo_is_the_one_that_its_migration_needs() -> None:
    shipped = json.loads((DOCKER / "clinics_policy.json").read_text(encoding="utf-8"))
    assert shipped == access_policy(load_migration("clinics")), "medferry medplum policy > docker/clinics_policy.json"


def test_a_policy_that_cannot_be_read_makes_no_bounds(medplum_client: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(OSError):
        medplum_client.bound_by_policy(Medplum().client(), "p0", tmp_path / "missing.json")
