"""Ten flips there and back under load, on PostgreSQL and MariaDB: clients that follow the routing lose nothing.

For `make faults`: it takes minutes, and its clients need a machine that is not busy. Nothing is loaded anew in between.
"""

from __future__ import annotations

import sys
import threading
import time
from contextlib import suppress

import pytest

from medferry.cutover.machine import NotFlipped, NotReturned, Outcome
from medferry.errors import LeaseHeld, TransientError, VerificationFailed
from medferry.governance.forecast import quantile
from medferry.sync.cycle import cycle
from medferry.sync.reverse_cycle import back_cycle
from medferry.sync.wave import synced_wave
from medferry.workflows.cutover import Choice, CutoverBusy, cut_over, prepare, roll_back
from medferry.workflows.routing import publish_routing
from tests.cutover.game_day import OURS, ROUNDS, GameDay, day
from tests.cutover.routed_clients import Diary, FlagdFile, Follower, Stubborn, at_work

__all__ = ["day"]

WHO = Choice("A. Operator", freeze=120.0, patience=30.0)
TRIES = 4


def keep_in_step(day: GameDay, over: threading.Event, faults: list[BaseException]) -> None:
    """What the schedule does beside: both ways, as they are at each moment."""
    while not over.wait(0.3):
        try:
            with suppress(TransientError, LeaseHeld):
                wave = synced_wave(day.environment, "pilot")
                cycle(wave)
                back_cycle(wave)
        except BaseException as fault:  # noqa: BLE001 -- the test is told of it
            faults.append(fault)
            return


def flip(day: GameDay, forth: bool) -> None:
    """As an operator does it: what was backed out of is tried again."""
    reasons = []
    for _ in range(TRIES):
        try:
            done = (cut_over if forth else roll_back)(day.environment, "pilot", WHO)
        except (NotFlipped, NotReturned, CutoverBusy, VerificationFailed) as error:
            reasons.append(str(error))
        else:
            assert done is (Outcome.FLIPPED if forth else Outcome.RETURNED)
            return
    raise AssertionError(f"not moved {'forth' if forth else 'back'}: {reasons}; {day.astray}")


@pytest.mark.skipif(not ROUNDS, reason="a part of `make faults`")
@pytest.mark.timeout(3_600)
def test_ten_flips_there_and_back_lose_nothing(day: GameDay) -> None:
    diary, systems = Diary(), {"legacy": day.legacy, "medplum": day.medplum}
    prepare(day.environment, "pilot", WHO)
    publish_routing(day.environment)
    route = FlagdFile(day.file, "tiny", "all-other", "north")
    keys = [str(key) for key in OURS]
    clients = [
        Follower(diary, "north", keys[:3], systems, pause=0.05, route=route),
        Follower(diary, "north", keys[3:6], systems, pause=0.05, route=route),
        Stubborn(diary, "north", keys[6:], {"legacy": day.legacy}, pause=0.05, system="legacy"),
    ]
    over, faults = threading.Event(), list[BaseException]()
    beside = threading.Thread(target=keep_in_step, args=(day, over, faults), daemon=True)

    def until(system: str, more: int) -> None:
        wanted, patience = diary.count(system) + more, time.monotonic() + 120
        while diary.count(system) < wanted:
            assert time.monotonic() < patience and not diary.faults and not faults
            time.sleep(0.02)

    beside.start()
    try:
        with at_work(clients):
            for _ in range(ROUNDS):
                until("legacy", 6)
                flip(day, forth=True)
                until("medplum", 6)
                flip(day, forth=False)
            until("legacy", 6)
    finally:
        over.set()
        beside.join(60)
    assert faults == []
    assert diary.lost(day.in_legacy) == []
    assert diary.turns("north", "legacy") <= 2 * ROUNDS
    assert diary.refusals["legacy"] > 0
    seconds = day.freezes
    p50, p95 = (quantile(seconds, share) for share in (0.5, 0.95))
    sys.stdout.write(
        f"{len(diary.acknowledged)} writes acknowledged, 0 lost; {len(seconds)} flips; seconds without a writer: "
        f"p50 {p50:.1f}, p95 {p95:.1f}, longest {max(seconds):.1f}\n{day.forecasts}\n"
    )
