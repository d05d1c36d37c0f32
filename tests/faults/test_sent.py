"""Answers lost while the server stands still, workers that die or lose their hold, searches that lag, writes that stay
hidden, a database that fails: nothing doubles, nothing is lost, nothing is written over.

A stall is shorter here than in the world, and so is the time to settle; test_combined has them as long as they are.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from typing import Any

import pytest

from tests.faults.checker import Scene, count_all, create, read_medplum
from tests.faults.simulator import BATCH, Nursery, World
from tests.lagging_proxy import LaggingProxy

SETTLE = 30.0
"""Longer than any stall here."""

MODES = pytest.mark.parametrize("load_mode", ["lookup", "conditional"])


def late(milliseconds: int, skip: int = 0) -> dict[str, Any]:
    """A gateway gives up at once; the batch is done all the same, later."""
    return {"kind": "late", "ms": milliseconds, "next": 1, "skip": skip, **BATCH}


def open_notes(world: World) -> int:
    with sqlite3.connect(world.folder / "manifest.db") as manifest:
        [(number,)] = manifest.execute("SELECT count(*) FROM sent_batch WHERE ended_at IS NULL").fetchall()
    manifest.close()
    return int(number)


def arrive_again(scene: Scene, entries: list[list[str]]) -> int:
    """Create what the note says that was sent, as it was sent; returns the number of resources."""
    names = {(system, value) for system, value, *_ in entries}
    again = [r for r in read_medplum(scene) if (r["identifier"][0]["system"], r["identifier"][0]["value"]) in names]
    for resource in again:
        create(scene, resource)
    return len(again)


@MODES
def test_an_answer_lost_in_a_stall_doubles_nothing(load_mode: str, world: World) -> None:
    world.server.inject(late(2_500), late(2_500, skip=5))
    ended = world.do(options={"batch_size": 10, "load_mode": load_mode}, fast=False, settle=SETTLE)
    assert (ended.status, ended.error) == (0, "")
    assert "got no answer and may be at work still" in (world.folder / "0.log").read_text()
    assert world.problems() == []
    assert open_notes(world) == 0


def test_a_batch_that_was_never_done_is_sent_again_and_stays_watched(world: World) -> None:
    world.server.inject({"kind": "cut-before", "next": 1, "skip": 3, **BATCH})
    ended = world.do(settle=1.0)
    assert (ended.status, ended.error) == (0, "")
    assert world.problems() == []
    assert open_notes(world) == 1


def test_a_batch_that_comes_when_its_time_is_over_is_found_by_the_next_verification(world: World) -> None:
    """The known limit: it doubles, and no verdict passes over it. What comes hours later is sent here by hand."""
    world.server.inject({"kind": "cut-before", "next": 1, "skip": 3, **BATCH})
    assert world.do(settle=1.0).status == 0
    with sqlite3.connect(world.folder / "manifest.db") as manifest:
        [(entries,)] = manifest.execute("SELECT entries FROM sent_batch WHERE ended_at IS NULL").fetchall()
    manifest.close()
    assert arrive_again(world.scene(), json.loads(entries)) > 0
    ended = world.do(run_id="second")
    assert "batches: at an end" in ended.error
    assert any(problem.startswith("duplicate") for problem in world.problems("second"))


@pytest.mark.parametrize("again", ["the same run", "a new run"])
@MODES
def test_who_comes_after_a_killed_worker_settles_what_it_sent(again: str, load_mode: str, world: World) -> None:
    world.server.inject(late(3_000, skip=2))  # clinics 1 and 2, when their parents are there
    options: dict[str, Any] = {"load_mode": load_mode, "lanes": 1}
    first = world.do(options=options, at="commit attempt sent_batch slice", do="kill", fast=False, settle=SETTLE)
    assert first.killed and open_notes(world) == 1
    run_id = "r" if again == "the same run" else "second"
    options |= {} if run_id == "r" else {"take_over": True}
    ended = world.do(run_id=run_id, options=options, settle=SETTLE)
    assert (ended.status, ended.error) == (0, "")
    assert world.problems(run_id) == []
    assert open_notes(world) == 0


@pytest.mark.parametrize("step", ["batch 1", "batch 29"])
def test_a_take_over_of_the_living_is_fenced_at_the_point_of_sending(
    step: str, world: World, nurseries: list[Nursery]
) -> None:
    with world.paused(step, options={"lanes": 1}, nursery=nurseries[0]) as ended:
        other = world.do(run_id="second", options={"lanes": 1, "take_over": True}, nursery=nurseries[1])
        assert (other.status, other.error) == (0, "")
    assert ended[0].error.startswith("LeaseLost")
    assert world.problems("second") == []


def test_who_stood_still_between_note_and_sending_sends_nothing_when_it_wakes(
    world: World, nurseries: list[Nursery]
) -> None:
    """As a stopped process, a suspended machine: the other has waited until the note's time was over."""
    options: dict[str, Any] = {"lanes": 1}
    with world.paused("noted 29", every=True, options=options, nursery=nurseries[0], settle=2.0) as ended:
        other = world.do(run_id="second", options=options | {"take_over": True}, nursery=nurseries[1], settle=2.0)
        assert (other.status, other.error) == (0, "")
    assert ended[0].error.startswith("LeaseLost")
    assert world.problems("second") == []


def test_a_lost_lock_with_a_batch_at_work_doubles_nothing(world: World, nurseries: list[Nursery]) -> None:
    """The second worker is let in while the first still waits for the answer to its batch."""
    assert world.do("stage").status == 0
    for entity in ("clinic", "staff", "patient"):
        assert world.do("load", entity=entity).status == 0
    world.server.inject({"kind": "delay", "ms": 2_000, "next": 1, "skip": 1, **BATCH})
    with world.meanwhile(nursery=nurseries[0], what="load", entity="weight", settle=SETTLE) as first:
        while not open_notes(world) and not first:
            time.sleep(0.05)
        shutil.rmtree(world.folder / "workers-of-manifest.db")
        second = world.do("load", entity="weight", nursery=nurseries[1], settle=SETTLE)
    assert (second.status, second.error) == (0, "")
    assert first[0].error.startswith("LeaseLost") or first[0].status == 0
    assert world.do().status == 0
    assert world.problems() == []


@pytest.mark.parametrize(("lag", "in_batches"), [(0.3, True), (2.0, False), (1.0, True)])
def test_searches_that_lag_double_nothing(lag: float, in_batches: bool, world: World) -> None:
    with LaggingProxy(world.server.base_url, lag, in_batches) as proxy:
        ended = world.do(options={"batch_size": 10}, base_url=proxy.base_url, fast=False, settle=SETTLE)
    assert not ended.error or ended.error.startswith("VerificationFailed")  # it, too, saw less than there was
    time.sleep(lag)
    assert world.do().status == 0
    assert world.problems() == []


def test_writes_that_stay_hidden_stop_the_load(world: World) -> None:
    before = count_all(world.scene())
    with LaggingProxy(world.server.base_url, hidden=("Practitioner",)) as proxy:
        ended = world.do(base_url=proxy.base_url)
    assert ended.error.startswith("WritesHidden: Medplum created Practitioner/")
    assert "AccessPolicy" in ended.error
    assert count_all(world.scene())["Practitioner"] - before["Practitioner"] == 2  # each of the two once
    assert world.do().status == 0
    assert world.problems() == []


@pytest.mark.parametrize("skip", [0, 3, 20])
def test_a_database_that_fails_for_a_while_rejects_nothing(skip: int, world: World) -> None:
    world.server.inject({"kind": "entry-invalid", "next": 50, "skip": skip})
    ended = world.do()
    world.server.inject()
    if ended.error:
        assert ended.error.startswith("NotSettled")
        ended = world.do()
    assert (ended.status, ended.error) == (0, "")
    assert world.problems() == []
