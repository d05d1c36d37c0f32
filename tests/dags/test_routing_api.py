"""The routing over HTTP: entity tags, and what it says where there is nothing. Who may ask: tests/airflow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from medferry.cutover.routing import ALL_OTHER, Route, Routing, Writes
from medferry.cutover.routing_file import publish
from medferry.fhir.sides import Side
from medferry_airflow.routing_api import has_it
from medferry_airflow.web import app


def at(epoch: int) -> Routing:
    side = Side.MEDPLUM if epoch % 2 else Side.LEGACY
    return Routing.of("tiny", [Route(unit="north", domain=ALL_OTHER, reads=side, writes=Writes(side), epoch=epoch)])


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDFERRY_ROUTING_FILE", str(tmp_path / "routing.json"))
    return tmp_path / "routing.json"


@pytest.fixture
def client() -> Iterator[TestClient]:
    """One whom Airflow lets in."""
    asked = [each.dependency for each in app.router.dependencies]
    app.dependency_overrides = {dependency: lambda: None for dependency in asked if dependency}
    yield TestClient(app)
    app.dependency_overrides = {}


def test_who_has_it_gets_nothing_again(client: TestClient, path: Path) -> None:
    publish(path, lambda: at(0))
    first = client.get("/routing")
    assert Routing.model_validate_json(first.content) == at(0)
    known = {"If-None-Match": first.headers["ETag"]}
    again = client.get("/routing", headers=known)
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]
    publish(path, lambda: at(1))
    changed = client.get("/routing", headers=known)
    assert changed.status_code == 200 and changed.json()["routes"][0]["writes"] == "medplum"
    assert changed.headers["ETag"] != first.headers["ETag"] and changed.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    ("tags", "known"), [('"d"', True), ('W/"d"', True), ('"c", W/"d"', True), ("*", True), ('"c"', False), ("d", False)]
)
def test_entity_tags_are_compared_as_http_says(tags: str, known: bool) -> None:
    assert has_it(tags, "d") is known


def test_where_there_is_nothing_it_says_what_to_do(
    client: TestClient, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = client.get("/routing")
    assert missing.status_code == 404 and "medferry routing publish" in missing.json()["detail"]
    path.write_text("{}")
    foreign = client.get("/routing")
    assert foreign.status_code == 503 and "not one that Medferry has written" in foreign.json()["detail"]
    monkeypatch.delenv("MEDFERRY_ROUTING_FILE")
    assert "MEDFERRY_ROUTING_FILE is not set" in client.get("/routing").json()["detail"]
