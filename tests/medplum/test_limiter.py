"""Lanes grow while all is well, shrink under strain, close when the server keeps failing, and open again."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import pytest

from medferry.medplum.limiter import FAILED_TO_CLOSE, BatchHealth, ConcurrencyLimiter, health_of


@dataclass
class Server:
    """Keeps the pauses that its lanes make."""

    slept: list[float] = field(default_factory=list)

    def lanes(self, most: int) -> ConcurrencyLimiter:
        return ConcurrencyLimiter(most, self.slept.append)

    def work(self, lanes: ConcurrencyLimiter, batches: int, end: BatchHealth = BatchHealth.WELL) -> None:
        for _ in range(batches):
            with lanes.slot():
                lanes.finished(end)


def test_a_lane_is_added_after_two_batches_of_each_that_went_well() -> None:
    server = Server()
    lanes = server.lanes(16)
    seen = []
    for _ in range(4 + 6 + 8):
        server.work(lanes, 1)
        seen.append(lanes.allowed)
    assert seen == [2] * 3 + [3] * 6 + [4] * 8 + [5]
    assert server.slept == []


def test_strain_begins_the_count_again() -> None:
    server = Server()
    lanes = server.lanes(16)
    server.work(lanes, 3)
    server.work(lanes, 1, BatchHealth.STRAINED)
    server.work(lanes, 1)
    assert lanes.allowed == 1
    server.work(lanes, 1)
    assert lanes.allowed == 2


def test_lanes_never_leave_their_bounds() -> None:
    server = Server()
    lanes = server.lanes(3)
    server.work(lanes, 100)
    assert lanes.allowed == 3
    server.work(lanes, 10, BatchHealth.STRAINED)
    assert lanes.allowed == 1


def test_strain_halves_the_lanes_and_they_recover() -> None:
    server = Server()
    lanes = server.lanes(8)
    server.work(lanes, 200)
    assert lanes.allowed == 8
    server.work(lanes, 1, BatchHealth.STRAINED)
    assert lanes.allowed == 4
    server.work(lanes, 200)
    assert lanes.allowed == 8


def test_a_server_that_keeps_failing_is_left_alone_ever_longer() -> None:
    server = Server()
    lanes = server.lanes(4)
    server.work(lanes, FAILED_TO_CLOSE, BatchHealth.FAILING)
    assert server.slept == []
    server.work(lanes, 2_000, BatchHealth.FAILING)
    assert server.slept[0] <= 0.5
    assert 15 <= server.slept[-1] <= 30
    pauses = len(server.slept)
    server.work(lanes, 20)
    assert len(server.slept) == pauses + 1  # the batch that tried it; then the lanes are open


def test_throttling_and_conflicts_do_not_close_the_lanes() -> None:
    server = Server()
    server.work(server.lanes(4), 100, BatchHealth.STRAINED)
    assert server.slept == []


def test_no_more_are_in_flight_than_allowed() -> None:
    lanes = ConcurrencyLimiter(1)
    entered = threading.Event()

    def second() -> None:
        with lanes.slot():
            entered.set()

    other = threading.Thread(target=second)
    with lanes.slot():
        other.start()
        assert not entered.wait(0.2)
    other.join(10)
    assert entered.is_set()


def test_an_error_in_flight_gives_the_lane_back() -> None:
    lanes = ConcurrencyLimiter(1)
    with pytest.raises(KeyError), lanes.slot():
        raise KeyError
    with lanes.slot():
        assert lanes.allowed == 1


@pytest.mark.parametrize(
    ("statuses", "end"),
    [
        ((200, 201, 400), BatchHealth.WELL),
        ((201, 409), BatchHealth.STRAINED),
        ((201, 429), BatchHealth.STRAINED),
        ((429, 503), BatchHealth.FAILING),
        ((0,), BatchHealth.FAILING),
    ],
)
def test_the_worst_status_counts(statuses: tuple[int, ...], end: BatchHealth) -> None:
    assert health_of(statuses) is end
