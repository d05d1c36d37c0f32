"""A run that waits for another's leases: it comes next, or ends when it is told to, and never in silence."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from medferry.definition.migration import load_migration
from medferry.errors import LeaseHeld
from medferry.manifest import leases, turns
from medferry.manifest.database import create_manifest
from medferry.manifest.runs import Control, RunRow, RunStatus, UnknownRun, add_run, get_run
from medferry.manifest.tables import lease
from medferry.runtime import control, turn
from medferry.runtime.control import RunAborted
from medferry.runtime.environment import Environment
from medferry.runtime.options import RunOptions
from medferry.runtime.settings import Settings
from tests import tiny_platform

WAITS = RunOptions(wait_minutes=1)


@pytest.fixture
def tiny(tmp_path: Path) -> Environment:
    settings = Settings(manifest_url=f"sqlite:///{tmp_path}/manifest.db")
    create_manifest(settings.manifest_url)
    environment = Environment(load_migration(tiny_platform.MIGRATION), settings)
    with environment.manifest.begin() as connection:
        leases.acquire(connection, "tiny", "first", ["north/patient"])
    return environment


def prepare(tiny: Environment) -> Callable[[], str]:
    """As a run does it, as far as leases go."""

    def act() -> str:
        with tiny.manifest.begin() as connection:
            leases.acquire(connection, "tiny", "second", ["north/patient", "south/patient"])
            row = RunRow("second", "tiny", "wave", RunStatus.RUNNING, [], [], {}, "f", "2026", None)
            add_run(connection, row, [])
        return "prepared"

    return act


def meanwhile(monkeypatch: pytest.MonkeyPatch, *acts: Callable[[], object]) -> list[str]:
    """What happens in each wait, one after the other; an hour passes when nothing is left to happen."""
    happened: list[str] = []
    time = [0.0]

    def sleep(_: float) -> None:
        if len(happened) < len(acts):
            acts[len(happened)]()
        else:
            time[0] += 3600
        happened.append("slept")

    monkeypatch.setattr(turn.time, "sleep", sleep)
    monkeypatch.setattr(turn.time, "monotonic", lambda: time[0])
    return happened


def places(tiny: Environment) -> list[str]:
    with tiny.manifest.begin() as connection:
        scopes = connection.scalars(sa.select(lease.c.scope).where(lease.c.scope.contains(":")))
        return [scope.partition(":")[0] for scope in scopes]


def release(tiny: Environment) -> None:
    with tiny.manifest.begin() as connection:
        leases.release(connection, "first")


def test_it_comes_when_the_other_has_ended_and_says_for_whom_it_waits(
    tiny: Environment, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    seen: list[list[str]] = []
    happened = meanwhile(monkeypatch, lambda: seen.append(places(tiny)), lambda: release(tiny))
    assert turn.in_turn(tiny, "second", WAITS, prepare(tiny)) == "prepared"
    assert (len(happened), seen, places(tiny)) == (2, [["waits"]], [])
    [told] = [record.getMessage() for record in caplog.records]
    assert told.startswith("Run second waits for its turn: Run first holds north/patient")


def test_who_does_not_wish_to_wait_is_refused_at_once(tiny: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    happened = meanwhile(monkeypatch)
    with pytest.raises(LeaseHeld, match="wait_minutes"):
        turn.in_turn(tiny, "second", RunOptions(), prepare(tiny))
    assert not happened and not places(tiny)


def test_the_wait_has_an_end(tiny: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    happened = meanwhile(monkeypatch)
    with pytest.raises(LeaseHeld):
        turn.in_turn(tiny, "second", WAITS, prepare(tiny))
    assert (len(happened), places(tiny)) == (1, [])


@pytest.mark.parametrize("name", ["wave_b.manual__2026", "manual__2026"])
def test_an_operator_ends_the_wait(tiny: Environment, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    meanwhile(monkeypatch, lambda: control.abort(tiny, control.controlled_run(tiny, name)), lambda: release(tiny))
    with pytest.raises(RunAborted):
        turn.in_turn(tiny, "wave_b.manual__2026", WAITS, prepare(tiny))
    assert places(tiny) == []
    with pytest.raises(UnknownRun):  # it waits no more
        control.controlled_run(tiny, name)


def test_a_wish_to_end_it_that_comes_with_its_turn_ends_the_run(
    tiny: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def just_then() -> str:
        done = prepare(tiny)()
        control.abort(tiny, "second")
        return done

    def act() -> str:
        return just_then() if happened else prepare(tiny)()

    happened = meanwhile(monkeypatch, lambda: release(tiny))
    assert turn.in_turn(tiny, "second", WAITS, act) == "prepared"
    with tiny.manifest.begin() as connection:
        assert get_run(connection, "second").control == Control.ABORT
    assert places(tiny) == []


def test_a_fault_of_its_own_leaves_no_place(tiny: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ValueError

    meanwhile(monkeypatch)
    with pytest.raises(ValueError):
        turn.in_turn(tiny, "second", WAITS, fail)
    assert places(tiny) == []


def test_the_place_of_one_that_died_ends_by_itself(tiny: Environment) -> None:
    with pytest.raises(LeaseHeld):
        turn.try_once(tiny, "second", prepare(tiny))
    with tiny.manifest.begin() as connection:
        assert turns.waiting_runs(connection, "tiny") == ["second"]
        old = sa.update(lease).where(lease.c.run_id == "second").values(expires_at="2026-01-01T00:00:00.000Z")
        connection.execute(old)
        assert turns.waiting_runs(connection, "tiny") == []
        turns.stand(connection, "tiny", "third")
    assert places(tiny) == ["waits"]
