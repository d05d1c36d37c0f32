"""The budget never spends what is not there, and leaves the reserve alone."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from embedded_medplum.server import EmbeddedMedplum
from medferry.medplum.budget import Budget, QuotaTooSmall, parse_rate_limit
from medferry.medplum.client import MedplumClient


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def budget(clock: Clock, reserve: int = 0) -> Budget:
    return Budget(reserve, clock, clock.sleep)


def limit(left: int, seconds: int) -> dict[str, str]:
    return {"ratelimit": f'"requests";r=59997;t=59, "fhirInteractions";r={left};t={seconds}'}


def test_the_header_is_read() -> None:
    assert parse_rate_limit(limit(49879, 42)["ratelimit"]) == {"requests": (59997, 59), "fhirInteractions": (49879, 42)}
    assert parse_rate_limit("nonsense") == {}


def test_spending_waits_for_the_reset_when_the_quota_cannot_pay() -> None:
    clock = Clock()
    purse = budget(clock)
    purse.learn(limit(500, 30))
    purse.pay(400)
    assert clock.slept == []
    purse.pay(200)
    assert clock.slept == [30]


def test_the_reserve_is_left_for_live_users() -> None:
    clock = Clock()
    purse = budget(clock, reserve=300)
    purse.learn(limit(500, 30))
    purse.pay(200)
    purse.pay(1)
    assert clock.slept == [30]


def test_a_late_answer_does_not_give_points_back() -> None:
    clock = Clock()
    purse = budget(clock)
    purse.learn(limit(500, 30))
    purse.pay(400)
    purse.learn(limit(500, 30))  # of a request that the server counted before the payment
    purse.pay(400)
    assert clock.slept == [30]


def test_a_refusal_empties_the_purse_until_the_server_s_time() -> None:
    clock = Clock()
    purse = budget(clock)
    purse.exhausted(7)
    purse.pay(1)
    assert clock.slept == [7]


def test_an_answer_that_was_on_its_way_does_not_prolong_a_refusal() -> None:
    """Another lane's answer tells of a full minute; the refusal's own time counts."""
    clock = Clock()
    purse = budget(clock)
    purse.exhausted(0.5)
    purse.learn({"ratelimit": '"fhirInteractions";r=40000;t=59'})
    purse.pay(100)
    assert clock.slept == [0.5]


def test_a_new_window_holds_what_an_earlier_one_held_until_its_first_answer() -> None:
    """Lanes that all begin at the reset would otherwise spend without end, and the reserve with it."""
    clock = Clock()
    purse = budget(clock, reserve=300)
    purse.learn(limit(1000, 30))
    clock.now = 31.0
    for _ in range(7):
        purse.pay(100)
    assert clock.slept == []
    purse.pay(100)
    assert clock.slept == [60.0]


def looking(purse: Budget, told: Callable[[], dict[str, str]]) -> list[float]:
    """Let `purse` look at a window by what `told` says; returns the list of times of its looks."""
    looks: list[float] = []

    def look() -> None:
        looks.append(purse._clock())
        purse.learn(told())

    purse.look = look
    return looks


def test_a_window_that_others_had_nearly_used_up_is_no_measure_of_the_next() -> None:
    clock = Clock()
    purse = budget(clock)
    looks = looking(purse, lambda: limit(4_999, 60))
    purse.learn(limit(480, 10))
    purse.pay(2_000)
    assert clock.slept == looks == [10]
    for _ in range(2):
        purse.pay(1_400)
    assert clock.slept == [10]  # the rest of the window is known


def test_the_first_answer_in_a_guessed_window_corrects_the_guess() -> None:
    """A search fits into what is known of an earlier window; its answer tells that there is much more."""
    clock = Clock()
    purse = budget(clock)
    purse.learn(limit(480, 10))
    clock.now = 11.0
    purse.pay(20)
    purse.learn(limit(4_980, 60))
    purse.pay(2_000)
    assert clock.slept == []


def test_the_correction_of_a_guess_leaves_out_what_is_still_in_flight() -> None:
    clock = Clock()
    purse = budget(clock)
    purse.learn(limit(480, 10))
    clock.now = 11.0
    purse.pay(400)  # on its way, and not counted in the answer to the next
    purse.pay(20)
    purse.learn(limit(4_980, 60))
    purse.pay(4_600)
    assert clock.slept == [60]


@pytest.mark.parametrize(
    ("reserve", "points", "fits"), [(0, 100_000, False), (50_000, 20, False), (30_000, 19_999, True)]
)
def test_what_no_window_can_pay_for_is_told(
    reserve: int, points: int, fits: bool, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    purse = budget(clock, reserve)
    looking(purse, lambda: limit(49_999, 60))
    purse.learn(limit(49_980, 59))
    if fits:
        purse.pay(points)
        return
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(QuotaTooSmall, match=r"about 49,999 points a minute.*smaller --batch-size.*docs/quota\.md"),
    ):
        purse.pay(points)
    assert clock.slept == [59, 60, 60]
    assert "Unless one of the next windows holds more" in caplog.text


def test_it_is_told_to_every_lane_once_it_is_known() -> None:
    clock = Clock()
    purse = budget(clock)
    looking(purse, lambda: limit(49_999, 60))
    purse.learn(limit(49_980, 59))
    for _ in range(2):
        with pytest.raises(QuotaTooSmall):
            purse.pay(100_000)
    assert clock.slept == [59, 60, 60]


def test_a_window_that_others_were_first_in_is_no_reason_to_give_up() -> None:
    clock = Clock()
    purse = budget(clock)
    looking(purse, lambda: limit(10_000 if clock.now < 100 else 49_999, 60))
    purse.learn(limit(480, 10))
    purse.pay(20_000)
    assert clock.slept == [10, 60, 60]


def test_a_server_that_tells_nothing_has_no_quota() -> None:
    clock = Clock()
    purse = budget(clock)
    purse.learn(limit(480, 10))
    clock.now = 11.0
    purse.pay(20_000)
    assert clock.slept == []


def test_the_client_looks_by_a_request_of_one_point() -> None:
    with EmbeddedMedplum(quota=5_000, quota_window=2) as server:
        client = MedplumClient(server.base_url, server.client_id, server.client_secret)
        client.budget.learn(limit(10, 0))
        with client:
            client.budget.pay(2_000)
            assert client.sent == 1
            with pytest.raises(QuotaTooSmall):
                for _ in range(3):
                    client.budget.learn(limit(10, 0))
                    client.budget.pay(6_000)


def test_a_look_that_fails_is_made_again() -> None:
    clock = Clock()
    purse = budget(clock)
    purse.learn(limit(480, 0))
    purse.look = lambda: (_ for _ in ()).throw(ConnectionError)
    with pytest.raises(ConnectionError):
        purse.pay(2_000)
    looking(purse, lambda: limit(4_999, 60))
    purse.pay(2_000)
    assert clock.slept == []


def test_the_first_answer_of_all_is_kept_to() -> None:
    clock = Clock()
    purse = budget(clock, reserve=40_000)
    purse.pay(20)
    purse.learn(limit(49_980, 60))
    purse.pay(9_900)
    purse.pay(100)
    assert clock.slept == [60]
