"""Settings from Airflow's connections and the environment, and the Medplum connection type."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest
from airflow.sdk import Connection

from medferry.definition.migration import load_migration
from medferry.errors import SettingsError
from medferry.store.keys import KeyMissing, keyring
from medferry_airflow.connections import base_url, settings_from_connections
from tests.tiny_platform import MIGRATION

PLAN = load_migration(MIGRATION).plan


def connection(**fields: Any) -> Connection:
    return Connection(conn_id="c", **fields)


def test_the_base_url_is_the_host_and_https_unless_told_otherwise() -> None:
    assert base_url(connection(conn_type="medplum", host="http://127.0.0.1:8103/")) == "http://127.0.0.1:8103/"
    assert base_url(connection(conn_type="medplum", host="api.medplum.com")) == "https://api.medplum.com/"
    assert base_url(connection(conn_type="medplum", host="m", port=8103, schema="http")) == "http://m:8103/"
    with pytest.raises(SettingsError, match="has no base URL"):
        base_url(connection(conn_type="medplum"))


def test_connections_win_and_the_environment_fills_the_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDFERRY_SOURCE_URL", "sqlite:///from-environment.db")
    monkeypatch.setenv("MEDFERRY_MEDPLUM_BASE_URL", "http://from-environment/")
    monkeypatch.setenv("MEDFERRY_MANIFEST_URL", "sqlite:///manifest.db")
    settings = settings_from_connections(PLAN)
    assert settings.source_url == "sqlite:///from-environment.db"
    assert settings.medplum_base_url == "http://from-environment/"
    medplum = {"conn_type": "medplum", "host": "http://from-connection/", "login": "id", "password": "secret"}
    monkeypatch.setenv("AIRFLOW_CONN_MEDPLUM_DEFAULT", json.dumps(medplum))
    monkeypatch.setenv("AIRFLOW_CONN_LEGACY_TINY", "sqlite:////from-connection.db")
    settings = settings_from_connections(PLAN)
    assert settings.source_url == "sqlite:////from-connection.db"
    assert (settings.medplum_base_url, settings.medplum_client_id) == ("http://from-connection/", "id")
    assert settings.medplum_client_secret == "secret"
    assert settings.manifest_url == "sqlite:///manifest.db"


def test_the_legacy_database_is_written_by_an_account_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_LEGACY_TINY", "sqlite:////legacy.db")
    assert settings_from_connections(PLAN).legacy_writer_url == ""
    monkeypatch.setenv("AIRFLOW_CONN_MEDFERRY_LEGACY_WRITER", "sqlite:////written.db")
    settings = settings_from_connections(PLAN)
    assert (settings.source_url, settings.legacy_writer_url) == ("sqlite:////legacy.db", "sqlite:////written.db")
    assert "written.db" not in repr(settings)


def test_the_journal_is_written_by_an_account_of_its_own_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDFERRY_CAPTURE_URL", "sqlite:////by-variable.db")
    assert settings_from_connections(PLAN).capture_url == "sqlite:////by-variable.db"
    journal = {"conn_type": "sqlite", "host": "/journal.db", "extra": {"timeout": 5}}
    monkeypatch.setenv("AIRFLOW_CONN_MEDFERRY_CAPTURE", json.dumps(journal))
    settings = settings_from_connections(PLAN)
    assert (settings.capture_url, settings.capture_arguments) == ("sqlite:////journal.db", {"timeout": 5})
    assert "journal.db" not in repr(settings)


def test_the_key_of_the_store_comes_from_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings_from_connections(PLAN).keys is None
    key = b64encode(b"k" * 32).decode()
    monkeypatch.setenv("AIRFLOW_CONN_MEDFERRY_STORE", json.dumps({"conn_type": "generic", "password": key}))
    settings = settings_from_connections(PLAN)
    assert settings.keys == keyring(key, "")
    assert key not in repr(settings)
    monkeypatch.setenv("MEDFERRY_STORE_KEY_FILE", "/run/secrets/key")
    with pytest.raises(KeyMissing, match="from connection and file at once"):
        assert settings_from_connections(PLAN).keys
    monkeypatch.setenv("AIRFLOW_CONN_MEDFERRY_STORE", json.dumps({"conn_type": "generic"}))
    with pytest.raises(SettingsError, match="neither a key nor extras"):
        settings_from_connections(PLAN)


def test_the_pepper_comes_from_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings_from_connections(PLAN).pepper is None
    pepper = b64encode(b"p" * 32).decode()
    monkeypatch.setenv("AIRFLOW_CONN_MEDFERRY_PEPPER", json.dumps({"conn_type": "generic", "password": pepper}))
    settings = settings_from_connections(PLAN)
    assert settings.pepper is not None
    assert settings.pepper.ring == keyring(pepper, "")
    assert settings.keys is None, "it is no key of the store"
    assert pepper not in repr(settings)
    monkeypatch.setenv("AIRFLOW_CONN_MEDFERRY_PEPPER", json.dumps({"conn_type": "generic"}))
    with pytest.raises(SettingsError, match="has no pepper"):
        settings_from_connections(PLAN)


def test_airflow_finds_the_connection_type_and_its_labels() -> None:
    from airflow.providers_manager import ProvidersManager
    from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime

    manager = ProvidersManager()
    assert "medferry-airflow-provider" in manager.providers
    labels = manager.field_behaviours["medplum"]["relabeling"]
    assert labels == {"host": "Base URL", "login": "Client id", "password": "Client secret"}
    assert ProvidersManagerTaskRuntime().hooks["medplum"].hook_class_name == "medferry_airflow.hook.MedplumHook"
