"""All together, by lot: stalls, lost answers, a lag, deaths, take-overs of the living, lost locks, a failing database,
somebody who works with what was loaded. Nothing doubles, nothing is lost, nothing is written over.

Time is simulated (see ``pace``): stalls last from a second to ten minutes and searches lag by 0.1 to 30 s, of a time
that goes `PACE` times as fast as the machine's, and is skipped while everybody waits.
"""

from __future__ import annotations

import math
import random
import shutil
import sqlite3
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.checker import Edit, Name, edit, written_over
from tests.faults.conftest import LONG, SEEDS
from tests.faults.simulator import BATCH, Ended, Nursery, World
from tests.lagging_proxy import LaggingProxy

PACE = 100.0

STALL, LAG = (1.0, 600.0), (0.1, 30.0)
"""Shortest and longest, in simulated seconds."""

SETTLE = STALL[1] + 2.0 * PACE
"""Two seconds of this machine's own, in which it must have sent, and done, what had stalled for the longest time."""

KILL, BESIDE = (0.1, 1.5), (0.05, 0.7)
"""Seconds (of the real clock) until a worker is killed, or has another beside it: most are still at work then."""

TIMEOUT = 1.0
"""After so many seconds (of the real clock) a worker gives a request up; the server goes on with it."""

PAUSES = (
    *("NotSettled", "MedplumUnavailable", "NotReached", "WritesHidden", "VerificationFailed"),
    *("LeaseLost", "LeaseHeld", "SliceBusy", "LaterRun", "VerificationAtWork", "BreakerOpen"),
)
"""How a run may stop while faults last and others work beside it; anything else is a bug. A database that fails for a
minute from the very first write on, with nothing written to try it by, is taken at its word: the next run heals it."""

EDITED = "2"
"""The patient with whom somebody works."""

LAST = {"take_over": True, "stop_at_share": 1.0}
"""Of the run that puts everything right. Ten weights are of a patient who cannot be loaded, ten of the one who may have
been edited before the load got hold of it: with both the breaker is right to stop, and its remedy is this option."""


def between(dice: random.Random, bounds: tuple[float, float]) -> float:
    """Each order of magnitude is as likely as the next."""
    return math.exp(dice.uniform(*map(math.log, bounds)))


def some_faults(dice: random.Random) -> list[dict[str, Any]]:
    """`late`: a gateway gives up at once, and the batch is done when the stall is over; `delay`: the worker waits."""

    def stalled(kind: str) -> dict[str, Any]:
        milliseconds = round(1_000 * between(dice, STALL) / PACE)
        return {"kind": kind, "ms": milliseconds, "next": dice.randint(1, 2), "skip": dice.randint(0, 8), **BATCH}

    faults = [
        stalled("late"),
        stalled("late"),
        stalled("delay"),
        {"kind": "cut-after", "next": 2, "skip": dice.randint(0, 6), **BATCH},
        {"kind": "cut-before", "next": 1, "skip": dice.randint(0, 6), **BATCH},
        {"kind": "entry-invalid", "next": dice.randint(1, 40), "skip": dice.randint(0, 30)},
    ]
    return dice.sample(faults, dice.randint(1, 4))


class Simulation:
    """One world by one seed."""

    def __init__(self, seed: int, world: World, nurseries: list[Nursery]) -> None:
        self.dice, self.world, self.nurseries = random.Random(seed), world, nurseries
        self.runs = 0
        self.options: dict[str, Any] = {}
        self.edits: list[Edit] = []

    @property
    def newest(self) -> str:
        return f"r{self.runs}"

    def rounds(self) -> None:
        """Some runs under faults, alone or with a second worker; the last stall is over at the end."""
        dice, lag = self.dice, between(self.dice, LAG) / PACE if self.dice.random() < 0.7 else 0.0
        with LaggingProxy(self.world.server.base_url, lag, in_batches=dice.random() < 0.5) as proxy:
            for number in range(dice.randint(1, 3)):
                self.world.server.inject(*some_faults(dice))
                kill = dice.choice([{}, {"kill_after": dice.uniform(*KILL)}])
                if number and dice.random() < 0.3:
                    self.somebody_edits()
                if number == 0 or dice.random() < 0.7:  # else the same run goes on
                    self.begin()
                job = {"base_url": proxy.base_url, "settle": SETTLE, "timeout": TIMEOUT, "fast": False}
                if dice.random() < 0.5:
                    self.with_another(job, kill)
                else:
                    allowed(self.world.do(run_id=self.newest, options=self.options, **job, **kill))
        self.world.server.inject()

    def begin(self) -> None:
        """The next run to be started is a new one."""
        self.runs += 1
        self.options = {
            "lanes": self.dice.choice([1, 4]),
            "batch_size": self.dice.choice([3, 10, 200]),
            "load_mode": self.dice.choice(["lookup", "conditional"]),
            "take_over": True,
        }

    def with_another(self, job: dict[str, Any], kill: dict[str, Any]) -> None:
        """A second worker while the first is at work: of a run that takes over, or of the same whose locks are lost."""
        one, other = self.nurseries
        with self.world.meanwhile(run_id=self.newest, options=self.options, nursery=one, **job, **kill) as first:
            time.sleep(self.dice.uniform(*BESIDE))
            if self.dice.random() < 0.6:
                self.begin()
            else:
                shutil.rmtree(self.world.folder / "workers-of-manifest.db", ignore_errors=True)
            allowed(self.world.do(run_id=self.newest, options=self.options, nursery=other, **job))
        allowed(first[0])

    def somebody_edits(self) -> None:
        """A user changes a patient whose row then changes, too: the load has a reason to write, and must not."""
        name: Name = ("Patient", f"{self.world.base}/patient", EDITED)
        if not self.edits and (made := edit(self.world.scene(), name, active=True)):
            self.edits = [made]
            self.world.change("UPDATE patient SET born = '1977-07-07' WHERE id = ?", (EDITED,))

    def weights_of_edited(self) -> list[int]:
        with sqlite3.connect(self.world.source) as legacy:
            keys = legacy.execute("SELECT id FROM weight WHERE patient_id = ?", (EDITED,)).fetchall()
        legacy.close()
        return [key for (key,) in keys]


def allowed(ended: Ended) -> None:
    assert ended.status in (0, 1, -9)
    assert not ended.error or ended.error.startswith(PAUSES), ended.error


@pytest.mark.parametrize("seed", range(SEEDS if LONG else 4))
def test_in_any_combination_nothing_doubles_is_lost_or_written_over(
    seed: int, make_world: Callable[..., World], nurseries: list[Nursery]
) -> None:
    world = make_world(pace=PACE)
    simulation = Simulation(seed, world, nurseries)
    simulation.rounds()
    last = world.do(run_id="last", options=LAST, settle=SETTLE)
    while world.server.advance(STALL[1]):
        time.sleep(0.01)  # until whatever may still arrive is there
    problems = unexcused(simulation, world.problems("last")) + written_over(world.scene(), simulation.edits)
    assert (problems, last.error if problems else "") == ([], "")
    assert (last.status, last.error) == (0, "") or (simulation.edits and last.error.startswith("VerificationFailed"))


def unexcused(simulation: Simulation, problems: list[str]) -> list[str]:
    """What is not as it must be, but for a patient whom somebody has edited, for whom the verification ends the run.

    What refers to that patient is set aside where the load never got hold of it. Nobody is excused for a double.
    """
    if not simulation.edits:
        return problems
    base, weights = simulation.world.base, [str(key) for key in simulation.weights_of_edited()]
    excused = {str(("Patient", f"{base}/patient", EDITED)), str(("patient", EDITED)), "run: its status is failed"}
    excused |= {text for key in weights for text in (str(("Observation", f"{base}/weight", key)), str(("weight", key)))}
    return [
        problem
        for problem in problems
        if problem.startswith("duplicate") or not any(text in problem for text in excused)
    ]
