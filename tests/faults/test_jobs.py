"""Asynchronous jobs: servers and workers that die around one, jobs that hang, fail, or run again when all is over."""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from embedded_medplum.server import EmbeddedMedplum
from medferry.manifest.jobs import STUCK
from medferry.medplum import jobs
from medferry.medplum.client import MedplumClient
from tests.faults.simulator import Ended, World

ASYNCHRONOUS = {"load_mode": "asynchronous", "lanes": 1}
HANG = {"kind": "job-hang", "next": 1}


@pytest.fixture(scope="module")
def durable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedMedplum]:
    folder = tmp_path_factory.mktemp("durable")
    with EmbeddedMedplum(
        data=folder / "medplum.db",
        faults=True,
        quota=10**9,
        token_limit=10**9,
        job_resume_seconds=0.3,
        log_file=folder / "server.log",
    ) as medplum:
        yield medplum
        medplum.inject()


@pytest.fixture
def world(durable: EmbeddedMedplum, make_world: Callable[..., World]) -> Iterator[World]:
    yield prepared(make_world(durable))
    durable.inject()


def prepared(world: World) -> World:
    """All but its 30 weights are loaded: they are the next job."""
    assert go(world, what="stage").error == ""
    for entity in ("clinic", "staff", "patient"):
        assert go(world, what="load", entity=entity).error == ""
    return world


def go(world: World, **job: Any) -> Ended:
    return world.do(options=ASYNCHRONOUS, **job)


def job_rows(world: World) -> list[tuple[str, str, str, str | None]]:
    """Slice, URL, status and end of every job in the manifest, in order."""
    with sqlite3.connect(world.folder / "manifest.db") as manifest:
        rows = manifest.execute("SELECT slice_id, url, status, ended_at FROM job ORDER BY submitted_at").fetchall()
    manifest.close()
    return rows


def weights(world: World) -> int:
    """How many are on the server."""
    return len(versions(world))


def connected(world: World) -> MedplumClient:
    return MedplumClient(world.server.base_url, world.server.client_id, world.server.client_secret)


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.02)


@contextmanager
def in_the_background(world: World, **job: Any) -> Iterator[list[Ended]]:
    """A job that works during the block; its end is in the list afterwards."""
    ended: list[Ended] = []
    thread = threading.Thread(target=lambda: ended.append(go(world, **job)))
    thread.start()
    try:
        yield ended
    finally:
        thread.join()


def test_a_run_in_jobs_ends_as_any_other(world: World) -> None:
    assert go(world).error == ""
    assert world.problems() == []
    assert {(status, ended is None) for _, _, status, ended in job_rows(world)} == {("completed", False)}
    assert all(url.startswith("fhir/R4/job/") for _, url, _, _ in job_rows(world))


def test_no_more_jobs_are_in_flight_than_lanes(durable: EmbeddedMedplum, make_world: Callable[..., World]) -> None:
    world = make_world(durable)
    durable.inject({"kind": "job-hang", "ms": 20, "every": 1})
    assert world.do(options={"load_mode": "asynchronous", "lanes": 2, "batch_size": 2}).error == ""
    durable.inject()
    assert world.problems() == []
    with sqlite3.connect(world.folder / "manifest.db") as manifest:
        times = manifest.execute("SELECT submitted_at, ended_at FROM job").fetchall()
    manifest.close()
    moments = sorted([(end, -1) for _, end in times] + [(start, 1) for start, _ in times])
    flying = [sum(step for _, step in moments[: at + 1]) for at in range(len(moments))]
    assert len(times) >= 20
    assert max(flying) <= 2


def test_a_server_restarted_in_mid_job_runs_its_entries_twice_and_doubles_nothing(world: World) -> None:
    server = world.server
    server.inject({**HANG, "after": 12, "ms": 60_000})
    with in_the_background(world) as ended:
        until(lambda: weights(world) == 12)
        server.kill()
        server.start()
    assert [(one.status, one.error) for one in ended] == [(0, "")]
    assert world.problems() == []
    assert ended[0].sent == 30  # the same job was waited for, nothing was sent a second time


def test_a_stuck_job_is_told_and_the_next_attempt_goes_on_without_it(world: World) -> None:
    """Then the server comes back to it when all has been read back and the run is over: nothing changes any more."""
    server = world.server
    server.inject({**HANG, "after": 7, "ms": 60_000})
    first = go(world, stuck_after=0.3)
    assert first.error.startswith("JobStuck: A job of Medplum came to no end")
    assert "What to do: Check Medplum's workers" in first.error
    [(_, url, status, ended)] = [row for row in job_rows(world) if row[0].startswith("weight")]
    assert (status, ended) == (STUCK, None)
    server.job_resume_seconds = 3_600
    server.kill()
    server.start()
    assert go(world).error == ""
    assert world.problems() == []
    server.job_resume_seconds = 0.3
    server.restart()
    with connected(world) as client:
        outcomes = jobs.fetch(client, jobs.wait(client, url), 30)
    assert Counter(outcome.status for outcome in outcomes) == {200: 30}
    assert world.problems() == []
    assert go(world, run_id="second").error == ""
    assert world.problems("second") == []


def test_updates_that_run_twice_make_one_version(world: World) -> None:
    server = world.server
    assert go(world).error == ""
    before = versions(world)
    world.change("UPDATE weight SET kg = kg + 1 WHERE id < ?", (5,))
    server.inject({**HANG, "skip": 1, "after": 2, "ms": 60_000})  # the rejected patient's job comes first
    with in_the_background(world, run_id="second") as ended:
        until(lambda: len(versions(world).items() - before.items()) == 2)
        server.kill()
        server.start()
    assert [one.error for one in ended] == [""]
    found = world.problems("second")
    assert len(found) == 4 and all(re.fullmatch(r"versions: .*/weight.* has 2", line) for line in found)


def versions(world: World) -> dict[str, str]:
    """Id → version of every weight."""
    with connected(world) as client:
        found = client.search_all("Observation", [("identifier", f"{world.base}/weight|")])
        return {resource["id"]: resource["meta"]["versionId"] for resource in found}


def test_jobs_that_end_in_error_are_sent_again(durable: EmbeddedMedplum, make_world: Callable[..., World]) -> None:
    world = make_world(durable)
    durable.inject({"kind": "job-error", "after": 3, "every": 2})
    assert world.do(options=ASYNCHRONOUS | {"batch_size": 6}).error == ""
    durable.inject()
    assert world.problems() == []
    assert {status for _, _, status, _ in job_rows(world)} == {"completed", "error"}


MOMENTS = {
    "before the submission": ("batch 30", 30),
    "between the submission and the record of its answer": ("answered 30", 60),
    "before the first poll": ("request /fhir/R4/job/", 30),
    "after the end": ("request /fhir/R4/Binary/", 30),
    "before the record of the targets": ("commit attempt", 30),
}
"""The step where the worker is killed, and the most entries that may be sent in all."""


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_worker_killed_around_a_job(moment: str, world: World) -> None:
    """The job stands still after 5 entries, so that it is at work while the worker is dead and the next one begins."""
    step, most = MOMENTS[moment]
    world.server.inject({**HANG, "after": 5, "ms": 300})
    first = go(world, at=step, do="kill", every=True)
    assert first.killed
    assert first.steps[-1].startswith(f"! {step}")
    second = go(world)
    assert second.error == ""
    assert world.problems() == []
    assert first.sent + second.sent <= most


def test_another_run_in_another_mode_doubles_nothing_beside_a_job_that_nobody_can_ask_for(world: World) -> None:
    """The job wakes up between the other run's look-up and its batch: plain creates would be duplicates."""
    load = {"what": "load", "entity": "weight"}
    world.server.inject({**HANG, "ms": 60_000})
    assert go(world, at="answered", do="kill", **load).steps[-1] == "! answered 30"
    assert [url.startswith("unnamed:") for _, url, _, _ in job_rows(world)][-1:] == [True]
    other = {"options": {"take_over": True, "lanes": 1}, "run_id": "other"}
    assert world.do("stage", **other).error == ""
    for entity in ("clinic", "staff", "patient"):
        assert world.do("load", entity=entity, **other).error == ""
    with world.paused("batch", **load, **other) as ended:
        world.server.kill()
        world.server.start()
        until(lambda: weights(world) == 30)
    assert [(one.error, one.sent) for one in ended] == [("", 30)]
    assert world.do(**other).error == ""
    assert world.problems("other") == []
