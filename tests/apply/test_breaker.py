"""A fault that hits row after row stops a slice; bad rows among good ones do not."""

from __future__ import annotations

import pytest

from medferry.apply.breaker import LEAST, Breaker, BreakerOpen


def test_it_trips_when_one_reason_takes_more_than_the_share() -> None:
    breaker = Breaker("patient", share=0.5)
    breaker.count("", LEAST)
    breaker.count("server-rejected", LEAST)
    breaker.check()
    breaker.count("server-rejected")
    with pytest.raises(BreakerOpen, match=f"{LEAST + 1} of the first {2 * LEAST + 1} source records of patient"):
        breaker.check()


@pytest.mark.parametrize(
    ("share", "reason", "number"),
    [
        (0.5, "mapping-error", LEAST - 1),
        (0.5, "impossible-date", 1_000),
        (1, "mapping-error", 1_000),
    ],
    ids=["a few rows", "a fault of the rows themselves", "switched off"],
)
def test_it_does_not_trip_by(share: float, reason: str, number: int) -> None:
    breaker = Breaker("patient", share)
    breaker.count(reason, number)
    breaker.check()
    assert breaker.total == number


def test_different_reasons_are_not_added_up() -> None:
    breaker = Breaker("patient", share=0.5)
    for reason in ("server-rejected", "invalid-resource"):
        breaker.count(reason, LEAST)
    breaker.check()
    assert breaker.cause == ""
