"""What a task says of itself, by a clock that is set; and that no wait outlasts an abort."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass

import httpx
import pytest

from embedded_medplum.server import EmbeddedMedplum
from medferry.medplum.budget import Budget
from medferry.medplum.client import MedplumClient
from medferry.medplum.errors import MedplumUnavailable
from medferry.medplum.waits import WaitFor, Waits
from medferry.runtime.control import RunAborted
from medferry.runtime.progress import Progress, Tally, duration, last_line_of, line_of
from medferry.runtime.pulse import GRACE_SECONDS, Pulse


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds


def test_a_line_says_who_what_how_far_and_what_it_waits_for() -> None:
    told = Progress(
        "load of patient, run r1", 3_000, 8_000, 1_000, 40.0, {"created": 1_900, "quarantined": 3, "updated": 97},
        31_000.0, {"quota": 12.4, "an answer": 3.0},
    )  # fmt: skip
    assert line_of(told) == (
        "load of patient, run r1: 3,000 of 8,000 (37 %); 50 a second, about 100 s to go; 1,900 created, 97 updated, "
        "3 quarantined; 31,000 points left; waits for quota since 12 s"
    )


def test_a_line_without_a_record_or_a_total() -> None:
    assert line_of(Progress("load of x, run r", 0, 10, 0, 30.0, {})) == "load of x, run r: 0 of 10 (0 %); no record yet"
    assert line_of(Progress("extract of x, run r", 7, 0, 0, 2.0, {})) == "extract of x, run r: 7 done; 3.5 a second"


def test_the_end_tells_the_main_reasons() -> None:
    reasons = {f"reason-{n}": n for n in range(1, 8)}
    assert last_line_of("load of x, run r", 1_200, 125.0, {"created": 5}, reasons) == (
        "load of x, run r: 1,200 records in 2 min; 5 created; main reasons: 7 reason-7, 6 reason-6, 5 reason-5, "
        "4 reason-4, 3 reason-3, and 2 more reasons"
    )
    assert last_line_of("load of x, run r", 1, 1.0, {}, {}) == "load of x, run r: 1 records in 1 s"


def test_times_are_read_by_people() -> None:
    assert [duration(seconds) for seconds in (0.4, 119, 121, 7_000, 11_100)] == [
        "0 s", "119 s", "2 min", "117 min", "3 h 05 min",
    ]  # fmt: skip


def test_a_pulse_tells_every_thirty_seconds_and_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock, tally = Clock(), Tally()
    pulse = Pulse("load of x, run r", 100, tally, lambda: False, None, "r", clock=clock)
    tally.add_earlier(10)
    for _ in range(21):
        clock.now += 3
        tally.add(1, ["created"])
        pulse.tick()
    tally.add(2, ["quarantined"] * 2, ["orphan", ""])
    pulse.end()
    lines = [record.message for record in caplog.records]
    assert lines[:2] == [
        "load of x, run r: 20 of 100 (20 %); 0.3 a second, about 4 min to go; 10 created",
        "load of x, run r: 30 of 100 (30 %); 0.3 a second, about 4 min to go; 20 created",
    ]
    assert lines[2] == "load of x, run r: 23 records in 63 s; 21 created, 2 quarantined; main reasons: 1 orphan"


def test_a_wait_is_told_since_it_began_and_ends_when_the_run_is_aborted() -> None:
    clock, ended = Clock(), threading.Event()
    seen: list[dict[WaitFor, float]] = []
    pulse = Pulse("load", 1, Tally(), ended.is_set, None, "r", clock=clock)

    def pause(seconds: float) -> None:
        clock.now += seconds
        seen.append(waits.longest())
        if clock.now >= 120:
            ended.set()
        pulse.tick()

    waits = Waits(clock, pause, pulse.heed)
    budget = Budget(clock=clock, sleep=lambda seconds: waits.sleep(WaitFor.QUOTA, seconds))
    budget.exhausted(3_600)
    with pytest.raises(RunAborted):
        budget.pay(100)
    assert clock.now <= 124
    assert seen[-1] == {WaitFor.QUOTA: clock.now - 100}
    assert waits.longest() == {}


def test_a_server_that_fails_is_waited_for_since_its_first_failure() -> None:
    clock = Clock()
    seen: list[float] = []

    def pause(seconds: float) -> None:
        clock.now += 20
        seen.append(waits.longest()[WaitFor.RECOVERY])

    waits = Waits(clock, pause)
    client = MedplumClient("http://127.0.0.1:1/", "id", "secret", waits=waits)
    with client, pytest.raises(MedplumUnavailable):
        client.is_there("Patient", "1")
    assert seen == [20.0 * number for number in range(1, len(seen) + 1)]


def test_an_abort_cuts_off_a_request_that_gets_no_answer(medplum: EmbeddedMedplum) -> None:
    clock, ended = Clock(), threading.Event()
    waits = Waits()
    with MedplumClient(medplum.base_url, medplum.client_id, medplum.client_secret, waits=waits) as client:
        client.profile()
        medplum.inject({"kind": "delay", "every": 1, "ms": 60_000, "path": "/Patient/1$"})
        pulse = Pulse("load", 1, Tally(), ended.is_set, client, "r", clock=clock)
        waits.heed = pulse.heed
        failures: list[BaseException] = []

        def ask() -> None:
            try:
                client.is_there("Patient", "1")
            except BaseException as error:  # noqa: BLE001 - looked at below
                failures.append(error)

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        while WaitFor.ANSWER not in waits.longest():
            time.sleep(0.01)
        ended.set()
        pulse.tick()
        assert asking.is_alive()  # it may still be answered
        while asking.is_alive():
            clock.now += GRACE_SECONDS
            pulse.tick()
            asking.join(0.2)
        medplum.inject()
    assert isinstance(failures[0], RunAborted)
    assert not isinstance(failures[0], httpx.HTTPError)
