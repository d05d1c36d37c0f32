"""A server that throttles, conflicts, fails, lies or dies: the load converges, and delay is never taken for refusal."""

from __future__ import annotations

import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from embedded_medplum.server import EmbeddedMedplum
from medferry.medplum.client import MedplumClient
from medferry.medplum.limiter import FAILED_TO_CLOSE
from tests.faults.checker import count_all
from tests.faults.conftest import LONG
from tests.faults.simulator import BATCH, LOOKUP, SEARCH, World

SMALL = {"batch_size": 5, "slice_rows": 15}

FAULTS: dict[str, list[dict[str, Any]]] = {
    "answer lost after commit": [{"kind": "cut-after", "probability": 0.5, "seed": 1, **BATCH}],
    "cut before commit": [{"kind": "cut-before", "probability": 0.4, "seed": 1, **BATCH}],
    "every first answer lost": [{"kind": "cut-after", "every": 2, **BATCH}],
    "429 storm for whole requests": [{"kind": "throttle", "probability": 0.6, "seed": 2, "ms_before_next": 10}],
    "429 storm inside a 200": [{"kind": "entry-throttle", "every": 4, "ms_before_next": 30}],
    "409 storm": [{"kind": "entry-conflict", "probability": 0.7, "seed": 3}],
    "5xx of whole requests": [{"kind": "error", "status": 502, "probability": 0.4, "seed": 4, **BATCH}],
    "5xx of single entries": [{"kind": "entry-error", "probability": 0.5, "seed": 5}],
    "slow server": [{"kind": "delay", "ms": 150, "probability": 0.3, "seed": 6}],
    "a 200 that stored nothing": [{"kind": "phantom", "every": 2, **BATCH}],
    "look-ups that fail": [{"kind": "error", "status": 503, "probability": 0.3, "seed": 7, **LOOKUP}],
    "a database that fails": [{"kind": "entry-invalid", "next": 40, "skip": 12}],
    "mixed": [
        {"kind": "entry-conflict", "probability": 0.2, "seed": 8},
        {"kind": "entry-error", "probability": 0.2, "seed": 9},
        {"kind": "entry-throttle", "every": 9, "ms_before_next": 30},
        {"kind": "cut-after", "probability": 0.2, "seed": 10, **BATCH},
        {"kind": "phantom", "probability": 0.2, "seed": 11, **BATCH},
    ],
}

RETRIES = 3
"""Which faults hit what, in how many a row, hangs on the order in which threads send: a task may have to be retried."""

WELL_NEEDED = ("NotSettled", "WritesHidden")
"""How a load may stop while a fault lasts (what was twice in a row answered and not stored looks hidden), beside a
verification that calls its evidence none amid so many failures. A server that is well again ends both."""


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("load_mode", ["lookup", "conditional"] if LONG else ["lookup"])
def test_the_load_ends_right_under(name: str, load_mode: str, world: World) -> None:
    """The short run leaves the other mode to the simulations of test_random."""
    world.server.inject(*FAULTS[name])
    ended = world.do(options={**SMALL, "load_mode": load_mode})
    for _ in range(RETRIES):  # as its message says, and as Airflow does
        if ended.error.startswith("NotSettled"):
            ended = world.do(options={**SMALL, "load_mode": load_mode})
    world.server.inject()
    if ended.error.startswith(WELL_NEEDED) or "Medplum's answers" in ended.error:
        ended = world.do(options={**SMALL, "load_mode": load_mode})
    assert (ended.status, ended.error) == (0, "")
    assert world.problems() == []


def test_the_lanes_close_while_the_server_keeps_failing_and_open_again(world: World) -> None:
    """How they shrink and recover on the way is shown, step by step, in tests/medplum/test_limiter.py."""
    world.server.inject({"kind": "error", "status": 503, "next": FAILED_TO_CLOSE + 3, **BATCH})
    ended = world.do(options={**SMALL, "lanes": 4})
    assert (ended.status, ended.error) == (0, "")
    assert "nothing is sent for up to" in (world.folder / "0.log").read_text()
    assert world.problems() == []


def test_a_read_waits_out_any_number_of_429s(world: World) -> None:
    """A verification that gave up after a few would call a throttled server "could not check"."""
    server = world.server
    server.inject({"kind": "throttle", "next": 20, "ms_before_next": 10, **SEARCH})
    with MedplumClient(server.base_url, server.client_id, server.client_secret) as client:
        assert client.count("Patient", [("_tag", "urn:none|none")]) == 0


def test_a_whole_run_replayed_three_times_changes_nothing(world: World) -> None:
    assert world.do(run_id="r").status == 0
    before = count_all(world.scene())
    for run_id in ("r", "second", "third"):
        assert world.do(run_id=run_id).status == 0
        assert world.problems(run_id) == []
    assert count_all(world.scene()) == before


def test_only_the_affected_entries_are_sent_again(world: World) -> None:
    """Failures of mixed kinds inside one batch of 30 entries."""
    world.server.inject(
        {"kind": "entry-conflict", "next": 3, "skip": 4, "path": "Observation"},
        {"kind": "entry-error", "next": 2, "skip": 9, "path": "Observation"},
        {"kind": "entry-throttle", "next": 1, "skip": 20, "path": "Observation", "ms_before_next": 30},
    )
    assert world.do().status == 0
    assert world.problems() == []
    tried = attempts(world, "weight")
    assert sorted(set(map(tuple, tried.values()))) == [(201,), (409, 201), (429, 201), (500, 201)]
    assert sum(len(statuses) for statuses in tried.values()) < 2 * len(tried)


def attempts(world: World, entity: str) -> dict[str, list[int]]:
    """Key → the status of each time its entry was sent, in order."""
    found: dict[str, list[int]] = defaultdict(list)
    with sqlite3.connect(world.folder / "manifest.db") as manifest:
        sql = "SELECT value, status FROM attempt WHERE system = ? ORDER BY id"
        for value, status in manifest.execute(sql, [f"{world.base}/{entity}"]):
            found[value].append(status)
    manifest.close()
    return found


def test_a_slice_is_not_called_done_while_nothing_is_stored(world: World) -> None:
    world.server.inject({"kind": "phantom", "every": 1, **BATCH})
    ended = world.do()
    world.server.inject()
    assert ended.error.startswith("WritesHidden")
    with sqlite3.connect(world.folder / "manifest.db") as manifest:
        assert manifest.execute("SELECT count(*) FROM slice WHERE stage = 'loaded'").fetchone() == (0,)
        assert manifest.execute("SELECT count(*) FROM target").fetchone() == (0,)
    manifest.close()
    assert world.do().status == 0
    assert world.problems() == []


@pytest.fixture(scope="module")
def durable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedMedplum]:
    """A server that keeps its resources over a restart."""
    folder = tmp_path_factory.mktemp("durable")
    with EmbeddedMedplum(
        data=folder / "medplum.db", faults=True, quota=10**9, log_file=folder / "server.log", token_limit=10**9
    ) as medplum:
        yield medplum


@pytest.mark.parametrize("moment", ["before the batch", "in the batch", "after the commit"])
def test_a_server_restarted_in_mid_batch(
    moment: str, durable: EmbeddedMedplum, make_world: Callable[..., World]
) -> None:
    world = make_world(durable)
    with world.paused("batch 5", options={**SMALL, "lanes": 1}, fast=False) as ended:  # 30 weights go as 1, 5, 5, …
        if moment == "before the batch":
            durable.kill()
        if moment == "in the batch":
            durable.inject({"kind": "delay", "ms": 2_000, "next": 1, **BATCH})
        if moment == "after the commit":
            durable.inject({"kind": "cut-after", "next": 1, **BATCH})
        (world.folder / "go").touch()
        time.sleep(0.4)
        durable.kill()
        durable.start()
    assert [(one.status, one.error) for one in ended] == [(0, "")]
    assert world.problems() == []


def test_a_batch_that_is_done_after_a_gateway_gave_up_doubles_nothing(world: World) -> None:
    """Between the look-up and the second batch, the first one comes to its work."""
    world.server.inject({"kind": "late", "ms": 1_000, "next": 1, **BATCH})
    ended = world.do(options={"lanes": 1}, fast=False, settle=30)
    assert (ended.status, ended.error) == (0, "")
    assert world.problems() == []


def test_a_batch_that_outlives_its_killed_worker_doubles_nothing(world: World) -> None:
    world.server.inject({"kind": "delay", "ms": 2_000, "next": 1, **BATCH})
    with world.meanwhile(options={"lanes": 1}, kill_on_flag=True, settle=30) as first:
        while not httpx.get(f"{world.server.base_url}faults").json()["rules"][0]["fired"]:
            time.sleep(0.01)  # the server has not got it yet
        (world.folder / "kill").touch()
    assert first[0].killed and first[0].sent
    (world.folder / "kill").unlink()
    ended = world.do(options={"lanes": 1}, fast=False, settle=30)
    assert (ended.status, ended.error) == (0, "")
    assert world.problems() == []
