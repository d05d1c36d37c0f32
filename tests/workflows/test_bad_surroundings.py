"""Wrong connections and missing settings: a clear error, and a rerun that goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from medferry.errors import SettingsError, SourceError, TransientError
from medferry.manifest.runs import get_run
from medferry.runtime.environment import Environment
from medferry.runtime.settings import Settings, settings_from_environment
from tests.tiny_platform import RESOURCES
from tests.workflows.test_migrate import migrate


def test_a_wrong_source_stops_before_anything_is_written(tiny: Environment, tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    empty = Environment(tiny.migration, replace(tiny.settings, source_url=f"sqlite:///{tmp_path}/empty.db"))
    with pytest.raises(SourceError, match="refused a query"):
        migrate(empty, "first")
    with tiny.medplum() as client:
        assert client.count("Organization") == 0
    assert migrate(tiny, "first")["created"] == RESOURCES


def test_a_medplum_that_is_not_there_fails_the_run_and_gives_its_leases_back(tiny: Environment) -> None:
    lost = Environment(tiny.migration, replace(tiny.settings, medplum_base_url="http://127.0.0.1:9/"))
    with pytest.raises(TransientError, match="did not answer"):
        migrate(lost, "first")
    with tiny.manifest.begin() as connection:
        assert get_run(connection, "first").status == "failed"
    assert migrate(tiny, "second")["created"] == RESOURCES


def test_missing_settings_are_named() -> None:
    settings = settings_from_environment({"MEDFERRY_SOURCE_URL": "sqlite://"})
    settings.require("source_url", "manifest_url")
    with pytest.raises(SettingsError, match="MEDFERRY_MEDPLUM_BASE_URL, MEDFERRY_MEDPLUM_CLIENT_ID are not set"):
        settings.require("medplum_base_url", "medplum_client_id")
    assert "secret" not in repr(Settings(source_url="pg://u:secret@h", medplum_client_secret="secret"))
