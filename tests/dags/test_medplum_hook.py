"""The Medplum hook: the HTTP hook's connection, TLS, proxies, headers and test; the core's client talks."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.http.hooks.http import HttpHook

from embedded_medplum.server import EmbeddedMedplum
from medferry.definition.migration import load_migration
from medferry.errors import SettingsError
from medferry.medplum.errors import CertificateRefused, RequestRefused
from medferry.medplum.http import HttpSettings
from medferry.runtime.environment import Environment
from medferry_airflow.connections import settings_from_connections
from medferry_airflow.hook import MedplumHook
from tests.tiny_platform import MIGRATION
from tests.tls import tls_before


def hook_for(
    monkeypatch: pytest.MonkeyPatch, server: EmbeddedMedplum, secret: str = "", host: str = "", **extra: Any
) -> MedplumHook:
    fields = {"conn_type": "medplum", "host": host or server.base_url, "login": server.client_id, "extra": extra}
    fields["password"] = secret or server.client_secret
    monkeypatch.setenv("AIRFLOW_CONN_MEDPLUM_DEFAULT", json.dumps(fields))
    return MedplumHook()


def test_it_is_an_http_hook() -> None:
    assert issubclass(MedplumHook, HttpHook)


def test_the_test_button_tells_whether_token_and_metadata_can_be_had(
    monkeypatch: pytest.MonkeyPatch, medplum: EmbeddedMedplum
) -> None:
    assert hook_for(monkeypatch, medplum).test_connection() == (True, "Token accepted; Medplum speaks FHIR 4.0.1.")
    good, said = hook_for(monkeypatch, medplum, "wrong").test_connection()
    assert not good and "refused the client id and secret" in said and "wrong" not in said
    medplum.stop()
    good, said = hook_for(monkeypatch, medplum).test_connection()
    assert not good and "did not answer" in said


def test_the_hook_opens_a_working_client(monkeypatch: pytest.MonkeyPatch, medplum: EmbeddedMedplum) -> None:
    with hook_for(monkeypatch, medplum).client() as client:
        assert client.count("Patient") == 0


def test_the_hook_s_own_requests_carry_a_token_and_log_no_body(
    monkeypatch: pytest.MonkeyPatch, medplum: EmbeddedMedplum, caplog: pytest.LogCaptureFixture
) -> None:
    hook = hook_for(monkeypatch, medplum)
    assert hook.run("fhir/R4/Patient", {"_summary": "count"}).json()["total"] == 0
    with pytest.raises(RequestRefused, match="HTTP 404"):
        hook.run("fhir/R4/Patient/Zephyrine")
    assert "OperationOutcome" not in caplog.text


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_an_authority_of_the_connection_is_trusted_by_hook_and_tasks_and_no_other(
    monkeypatch: pytest.MonkeyPatch, medplum: EmbeddedMedplum, own_certificate: tuple[Path, Path]
) -> None:
    with tls_before(medplum.port, *own_certificate) as port:
        host = f"https://127.0.0.1:{port}/"
        good, said = hook_for(monkeypatch, medplum, host=host).test_connection()
        assert not good and "Medplum's certificate is not trusted: self-signed certificate" in said
        environment = Environment(load_migration(MIGRATION), settings_from_connections(load_migration(MIGRATION).plan))
        with environment.medplum() as client, pytest.raises(CertificateRefused, match="self-signed"):
            client.count("Patient")
        for trusting in ({"verify": str(own_certificate[0])}, {"verify": False}):
            hook = hook_for(monkeypatch, medplum, host=host, **trusting)
            assert hook.test_connection()[0]
            settings = settings_from_connections(load_migration(MIGRATION).plan)
            with Environment(load_migration(MIGRATION), settings).medplum() as client:
                assert client.count("Patient") == 0


class Proxy(BaseHTTPRequestHandler):
    """A proxy that answers everything by itself, and remembers whom it was asked for and with which header."""

    seen: list[tuple[str, str | None]] = []  # noqa: RUF012

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.do_GET()

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers.get("X-Gateway")))
        searched = {"resource": {"resourceType": "Bundle", "total": 7}, "response": {"status": "200"}}
        answer = {"access_token": "t", "resourceType": "Bundle", "entry": [searched], "fhirVersion": "4.0.1"}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_proxy_and_headers_of_the_connection_are_used_by_hook_and_tasks(
    monkeypatch: pytest.MonkeyPatch, medplum: EmbeddedMedplum
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("MEDFERRY_PLAIN_HTTP", "medplum.invalid")
        extra = {"proxies": {"http": f"http://127.0.0.1:{server.server_port}"}, "X-Gateway": "open"}
        hook = hook_for(monkeypatch, medplum, host="http://medplum.invalid/", **extra)
        assert hook.test_connection()[0]
        settings = settings_from_connections(load_migration(MIGRATION).plan)
        with Environment(load_migration(MIGRATION), settings).medplum() as client:
            assert client.count("Patient") == 7
        server.shutdown()
    assert {header for _, header in Proxy.seen} == {"open"}
    assert [path.partition("?")[0].removeprefix("http://medplum.invalid/") for path, _ in Proxy.seen] == [
        "oauth2/token",
        "fhir/R4/metadata",
        "oauth2/token",
        "fhir/R4/",
    ]


def test_without_extras_the_client_talks_as_usual(monkeypatch: pytest.MonkeyPatch, medplum: EmbeddedMedplum) -> None:
    assert hook_for(monkeypatch, medplum).http_settings() == HttpSettings()
    assert settings_from_connections(load_migration(MIGRATION).plan).medplum_http == HttpSettings()


def test_an_extra_that_cannot_be_passed_on_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, medplum: EmbeddedMedplum
) -> None:
    with pytest.raises(SettingsError, match="extra srv_lookup, which cannot be passed on"):
        hook_for(monkeypatch, medplum, srv_lookup=True).http_settings()
    with pytest.raises(SettingsError, match="certificate for Medplum cannot be read"):
        hook_for(monkeypatch, medplum, verify="/nowhere.pem").client()


def test_no_credential_of_the_way_is_printed() -> None:
    assert "secret" not in repr(HttpSettings(proxy="http://u:secret@p:1", headers={"X-Key": "secret"}))
