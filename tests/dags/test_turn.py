"""A task that waits for another run gives its slot back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowRescheduleException

from medferry.definition.migration import load_migration
from medferry.errors import LeaseHeld
from medferry.manifest import leases, turns
from medferry.manifest.database import create_manifest
from medferry.runtime import control
from medferry.runtime.control import RunAborted
from medferry.runtime.environment import Environment
from medferry.runtime.options import RunOptions
from medferry.runtime.settings import Settings
from medferry_airflow.guard import guarded
from medferry_airflow.turn import in_turn
from tests import tiny_platform

WAITS = RunOptions(wait_minutes=10)


@pytest.fixture
def tiny(tmp_path: Path) -> Environment:
    settings = Settings(manifest_url=f"sqlite:///{tmp_path}/manifest.db")
    create_manifest(settings.manifest_url)
    environment = Environment(load_migration(tiny_platform.MIGRATION), settings)
    with environment.manifest.begin() as connection:
        leases.acquire(connection, "tiny", "first", ["north/patient"])
    return environment


def attempt(tiny: Environment, minutes_ago: float = 0.0, options: RunOptions = WAITS) -> str:
    def prepare() -> str:
        with tiny.manifest.begin() as connection:
            leases.acquire(connection, "tiny", "second", ["north/patient"])
        return "prepared"

    dag_run = SimpleNamespace(start_date=datetime.now(UTC) - timedelta(minutes=minutes_ago))
    return guarded(in_turn)(tiny, "second", options, dag_run, prepare)


def waiting(tiny: Environment) -> list[str]:
    with tiny.manifest.begin() as connection:
        return turns.waiting_runs(connection, "tiny")


def test_it_is_put_off_until_the_other_has_ended(tiny: Environment) -> None:
    with pytest.raises(AirflowRescheduleException) as put_off:
        attempt(tiny)
    assert timedelta(seconds=20) < put_off.value.reschedule_date - datetime.now(UTC) < leases.TTL / 2
    assert waiting(tiny) == ["second"]
    with tiny.manifest.begin() as connection:
        leases.release(connection, "first")
    assert attempt(tiny, 5) == "prepared"
    assert waiting(tiny) == []


def test_when_its_time_is_over_it_is_refused(tiny: Environment) -> None:
    with pytest.raises(AirflowRescheduleException):
        attempt(tiny)
    with pytest.raises(LeaseHeld):
        attempt(tiny, 11)
    assert waiting(tiny) == []


def test_without_the_option_it_is_refused_at_once(tiny: Environment) -> None:
    with pytest.raises(LeaseHeld):
        attempt(tiny, options=RunOptions())
    assert waiting(tiny) == []


def test_an_operator_ends_the_wait_between_two_looks(tiny: Environment) -> None:
    with pytest.raises(AirflowRescheduleException):
        attempt(tiny)
    control.abort(tiny, "second")
    with pytest.raises(RunAborted):
        attempt(tiny, 1)
    assert waiting(tiny) == []
    with pytest.raises(AirflowRescheduleException):  # cleared, it waits again
        attempt(tiny, 1)
