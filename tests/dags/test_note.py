"""The note of a DAG run: the verdict beside what people wrote, and never the reason why a task fails."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from medferry_airflow.note import note_run, noted

RUN = "wave_pilot.manual__2026-11-29T05:00:00+00:00"
PATH = "/api/v2/dags/wave_pilot/dagRuns/manual__2026-11-29T05%3A00%3A00%2B00%3A00"


class Airflow(BaseHTTPRequestHandler):
    """Its login and one DAG run, with a note."""

    note: str | None = None
    patched: list[Any]
    url: str

    def do_POST(self) -> None:
        if self.path.startswith("/page"):
            self._answer(200, "a page of somebody else")
            return
        self._answer(200 if self._body() == {"username": "noter", "password": "secret"} else 401, {"access_token": "t"})

    def do_GET(self) -> None:
        found = self.path == PATH and self.headers["Authorization"] == "Bearer t"
        self._answer(200 if found else 404, {"note": type(self).note})

    def do_PATCH(self) -> None:
        assert self.path == f"{PATH}?update_mask=note"
        body = self._body()
        type(self).patched.append(body)
        type(self).note = body["note"]
        self._answer(200, {})

    def _body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, code: int, body: Any) -> None:
        self.send_response(code)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: Any) -> None:
        """Nothing to the tests' output."""


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Airflow]]:

    class kind(Airflow):  # noqa: N801 -- one for each test
        note, patched = None, []

    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        kind.url = f"http://127.0.0.1:{server.server_port}"
        _connect(monkeypatch, kind.url)
        yield kind
        server.shutdown()


def _connect(monkeypatch: pytest.MonkeyPatch, host: str, password: str = "secret") -> None:
    account = {"conn_type": "http", "host": host, "login": "noter", "password": password}
    monkeypatch.setenv("AIRFLOW_CONN_MEDFERRY_AIRFLOW", json.dumps(account))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "Medferry: PROVEN"),
        ("Medferry: PAUSED", "Medferry: PROVEN"),
        ("Ask Ada.\nMedferry: NOT PROVEN\nTwice.", "Medferry: PROVEN\nAsk Ada.\nTwice."),
    ],
)
def test_what_people_wrote_stays(before: str | None, after: str) -> None:
    assert noted(before, "PROVEN") == after
    assert noted(after, "PROVEN") == after


def test_the_note_is_set_once(airflow: type[Airflow]) -> None:
    airflow.note = "Ask Ada."
    for _ in range(2):
        note_run(RUN, "NOT PROVEN")
    assert airflow.patched == [{"note": "Medferry: NOT PROVEN\nAsk Ada."}]


def test_a_run_that_began_anew_is_that_of_the_same_dag_run(airflow: type[Airflow]) -> None:
    note_run(f"{RUN}.2", "PROVEN")
    assert airflow.note == "Medferry: PROVEN"


def test_a_run_that_airflow_does_not_know_is_told_and_no_more(
    airflow: type[Airflow], caplog: pytest.LogCaptureFixture
) -> None:
    note_run("wave_pilot.of_yesterday", "PROVEN")
    assert "was not set" in caplog.text and "404" in caplog.text
    note_run("20261129-from-the-command-line", "PROVEN")
    assert airflow.patched == []


def test_a_wrong_password_or_no_answer_stops_nobody(
    airflow: type[Airflow], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _connect(monkeypatch, airflow.url, "wrong")
    note_run(RUN, "PROVEN")
    assert "refused the login: HTTP 401" in caplog.text and "wrong" not in caplog.text
    for host, told in (
        ("http://127.0.0.1:1", "ConnectError"),
        ("", "has no base URL"),
        (f"{airflow.url}/page", "Error"),
    ):
        caplog.clear()
        _connect(monkeypatch, host)
        note_run(RUN, "PROVEN")
        assert told in caplog.text
    assert airflow.patched == []


def test_without_a_connection_nothing_is_asked(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_MEDFERRY_AIRFLOW", raising=False)
    note_run(RUN, "PROVEN")
    assert caplog.text == ""
