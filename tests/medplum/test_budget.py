"""The budget never spends what is not there, and leaves the reserve alone."""

from __future__ import annotations

from medferry.medplum.budget import Budget, parse_rate_limit


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
