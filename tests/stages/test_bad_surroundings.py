"""Wrong connections, a full disk, a killed worker: a clear error, and a rerun that goes on."""

from __future__ import annotations

import errno
import gzip
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from medferry.errors import SettingsError, SourceError, StagingError
from medferry.manifest.runs import get_run
from medferry.settings import Settings, settings_from_environment
from medferry.stages import write
from medferry.stages.environment import Environment
from medferry.stages.write import NotSettled
from tests.stages.test_load_faults import identifiers_in_medplum
from tests.stages.test_pipeline import dispositions, migrate
from tests.tiny_platform import EXPECTED, MIGRATION, RESOURCES, variables

ROOT = Path(__file__).resolve().parents[2]


def test_a_full_disk_is_told_and_the_same_run_goes_on(tiny: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    written = gzip.GzipFile.write
    left = [30]

    def write(self: gzip.GzipFile, data: bytes) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return written(self, data)

    monkeypatch.setattr(gzip.GzipFile, "write", write)
    with pytest.raises(StagingError, match="Check space"):
        migrate(tiny, "first")
    monkeypatch.undo()
    assert migrate(tiny, "first")["created"] == RESOURCES
    assert dispositions(tiny, "first") == EXPECTED


def test_a_wrong_source_stops_before_anything_is_written(tiny: Environment, tmp_path: Path) -> None:
    empty = Environment(tiny.migration, replace(tiny.settings, source_url=f"sqlite:///{tmp_path}/empty.db"))
    with pytest.raises(SourceError, match="refused a query"):
        migrate(empty, "first")
    with tiny.medplum() as client:
        assert client.count("Organization") == 0
    assert migrate(tiny, "first")["created"] == RESOURCES


def test_a_medplum_that_is_not_there_fails_the_run_and_gives_its_leases_back(
    tiny: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "_ROUNDS", 2)
    lost = Environment(tiny.migration, replace(tiny.settings, medplum_base_url="http://127.0.0.1:9/"))
    with pytest.raises(NotSettled, match="did not answer"):
        migrate(lost, "first")
    with tiny.manifest.begin() as connection:
        assert get_run(connection, "first").status == "failed"
    assert migrate(tiny, "second")["created"] == RESOURCES


def test_missing_settings_are_named() -> None:
    settings = settings_from_environment({"MEDFERRY_SOURCE_URL": "sqlite://"})
    settings.require("source_url", "manifest_url")
    with pytest.raises(SettingsError, match="MEDFERRY_MEDPLUM_BASE_URL, MEDFERRY_MEDPLUM_CLIENT_ID is not set"):
        settings.require("medplum_base_url", "medplum_client_id")
    assert "secret" not in repr(Settings(source_url="pg://u:secret@h", medplum_client_secret="secret"))


@pytest.mark.parametrize("seconds", [1.2, 1.6, 2.0, 2.4])
def test_a_killed_run_goes_on_where_it_stopped(tiny: Environment, tmp_path: Path, seconds: float) -> None:
    """SIGKILL at some moment of a run of the command line, then the same run again (its leases are still its own)."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "include"),
        **variables(tiny.settings),
    }
    command = [sys.executable, "-m", "medferry", "run", "-m", str(MIGRATION), "--resume", "r", "--slice-rows", "3"]
    options = ["--batch-size", "1", "--lanes", "1"]
    with subprocess.Popen([*command, *options], env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
    done = subprocess.run([*command, *options], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert dispositions(tiny, "r") == EXPECTED
    assert set(identifiers_in_medplum(tiny).values()) == {1}
