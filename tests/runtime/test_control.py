"""Pause, resume and abort, asked for by another thread while the load is at work."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from medferry.errors import LeaseLost, MedferryError
from medferry.manifest import leases, runs
from medferry.manifest.tables import lease
from medferry.medplum.client import MedplumClient
from medferry.runtime import control
from medferry.runtime.control import NotAtWork, RunAborted, checkpoint
from medferry.runtime.environment import Environment
from medferry.runtime.options import RunOptions
from medferry.stages.prepare import prepare_run, scope_of
from tests.medplum.test_budget import Clock
from tests.stages.identifiers import identifiers_in_medplum
from tests.tiny_platform import EXPECTED, RESOURCES
from tests.workflows.test_migrate import dispositions, migrate

MOST = 4 + 1 + 2 * 2 + 3
"""Batches, when it comes with the fourth: one lane has three threads, each with a chunk in flight. A chunk takes a
second batch where its resources refer to each other; the one with what Medplum refuses three more, to try that alone
between two writes that succeed. Without the flag there would be some twenty."""


class AtWork:
    """A run in a thread of its own, to which something happens just before its batch number `at` is sent."""

    def __init__(self, tiny: Environment, monkeypatch: pytest.MonkeyPatch, at: int, act: Callable[[], None]) -> None:
        self.batches, self.error = 0, None
        self.asked = threading.Event()
        original = MedplumClient.batch

        def batch(client: MedplumClient, *arguments: Any, **named: Any) -> Any:
            self.batches += 1
            if self.batches == at:
                act()
                self.asked.set()
            return original(client, *arguments, **named)

        monkeypatch.setattr(MedplumClient, "batch", batch)
        self.thread = threading.Thread(target=self._run, args=(tiny,))
        self.thread.start()
        assert self.asked.wait(60)

    def _run(self, tiny: Environment) -> None:
        try:
            migrate(tiny, "first", slice_rows=3, lanes=1)
        except MedferryError as error:
            self.error = error

    def end(self) -> None:
        self.thread.join(60)
        assert not self.thread.is_alive()


def until(come: Callable[[], bool]) -> None:
    """Wait for something that comes when the machine has time for it."""
    deadline = time.monotonic() + 60
    while not come():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(control, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(leases, "_RENEW_AFTER", timedelta(0))


def status(tiny: Environment, run_id: str = "first") -> str:
    with tiny.manifest.begin() as connection:
        return runs.get_run(connection, run_id).status


def held(tiny: Environment) -> list[str]:
    with tiny.manifest.begin() as connection:
        return list(connection.scalars(sa.select(lease.c.expires_at)))


def successful(tiny: Environment) -> int:
    return sum(counts.get("successful", 0) for counts in dispositions(tiny, "first").values())


def test_pause_holds_the_load_after_the_chunk_in_flight_and_resume_ends_it_right(
    tiny: Environment, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    work = AtWork(tiny, monkeypatch, 4, lambda: control.pause(tiny, "first"))
    until(lambda: "is paused" in caplog.text)
    until(lambda: successful(tiny) > 0)
    time.sleep(1)  # for what would be sent all the same
    expiry = min(held(tiny))
    until(lambda: min(held(tiny)) > expiry)
    assert work.thread.is_alive()
    assert work.batches <= MOST
    assert successful(tiny) < 39
    control.resume(tiny, "first")
    work.end()
    assert work.error is None
    assert (dispositions(tiny, "first"), status(tiny), held(tiny)) == (EXPECTED, "succeeded", [])
    assert set(identifiers_in_medplum(tiny).values()) == {1}


@pytest.mark.parametrize("paused", [False, True], ids=["at work", "paused"])
def test_abort_stops_gives_the_leases_back_and_a_new_run_doubles_nothing(
    tiny: Environment, monkeypatch: pytest.MonkeyPatch, paused: bool
) -> None:
    act = control.pause if paused else control.abort
    work = AtWork(tiny, monkeypatch, 4, lambda: act(tiny, "first"))
    if paused:
        control.abort(tiny, "first")
    work.end()
    assert isinstance(work.error, RunAborted)
    assert work.batches <= MOST
    assert (status(tiny), held(tiny)) == ("aborted", [])
    done = successful(tiny)
    assert 0 < done < 39
    assert dispositions(tiny, "first") != EXPECTED
    second = migrate(tiny, "second")
    assert second["unchanged"] > 0
    assert second["created"] + second["unchanged"] == RESOURCES
    assert dispositions(tiny, "second") == EXPECTED
    assert Counter(identifiers_in_medplum(tiny).values()) == {1: RESOURCES}


def test_an_aborted_run_that_is_resumed_goes_on(tiny: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    AtWork(tiny, monkeypatch, 4, lambda: control.abort(tiny, "first")).end()
    assert migrate(tiny, "first", slice_rows=3, lanes=1)["created"] == RESOURCES
    assert (dispositions(tiny, "first"), status(tiny)) == (EXPECTED, "succeeded")


def begin(tiny: Environment, **options: object) -> runs.RunRow:
    prepare_run(tiny, "first", "run", scope_of(tiny.migration, None, None), RunOptions.model_validate(options))
    with tiny.manifest.begin() as connection:
        return runs.get_run(connection, "first")


def test_the_flag_is_looked_at_once_a_second_at_most(tiny: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begin(tiny)
    clock = Clock()
    monkeypatch.setattr(control, "LOOK_SECONDS", 1.0)
    monkeypatch.setattr(control, "time", SimpleNamespace(monotonic=lambda: 1_000 + clock.now))
    looks: list[str] = []
    monkeypatch.setattr(control, "_flag", lambda _, run_id: looks.append(run_id) or "")
    for _ in range(100):
        checkpoint(tiny, run)
    assert looks == ["first"]
    clock.sleep(1.0)
    checkpoint(tiny, run)
    assert looks == ["first", "first"]


def test_a_paused_worker_whose_scope_was_taken_over_stops(tiny: Environment) -> None:
    run = begin(tiny)
    control.pause(tiny, "first")
    with tiny.manifest.begin() as connection:
        leases.acquire(connection, "tiny", "other", ["north/patient"], take_over=True)
    with pytest.raises(LeaseLost, match="no longer owns 1"):
        checkpoint(tiny, run)


def test_abort_ends_a_run_whose_workers_are_dead(tiny: Environment) -> None:
    run = begin(tiny)
    control.abort(tiny, "first")
    assert status(tiny) == "running"  # its leases are alive, and so may be its workers
    with pytest.raises(RunAborted, match="new run"):
        checkpoint(tiny, run)
    with tiny.manifest.begin() as connection:
        connection.execute(sa.update(lease).values(expires_at="2020-01-01T00:00:00.000Z"))
    control.abort(tiny, "first")
    assert (status(tiny), held(tiny)) == ("aborted", [])


def test_a_wish_that_comes_too_late_is_told(tiny: Environment) -> None:
    begin(tiny)
    control.abort(tiny, "first")
    with pytest.raises(NotAtWork, match="is being aborted"):
        control.resume(tiny, "first")
    with tiny.manifest.begin() as connection:
        runs.finish_run(connection, "first", runs.RunStatus.ABORTED)
    for act in control.CONTROLS.values():
        with pytest.raises(NotAtWork, match=r"is over \(aborted\)"):
            act(tiny, "first")
    with pytest.raises(runs.UnknownRun):
        control.pause(tiny, "nowhere")
