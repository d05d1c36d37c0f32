"""The freeze's forecast: its interval holds it, it never falls when there is more to do, and it says when it cannot."""

from __future__ import annotations

from itertools import pairwise
from math import inf, isfinite

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medferry.governance.forecast import FLIP, Work, freeze, line

seconds = st.floats(0.01, 5_000)
measured = st.lists(st.tuples(st.integers(1, 100_000), seconds), max_size=12)
ages = st.lists(st.floats(0, 5_000), max_size=12)
amounts = st.integers(0, 100_000)


@given(ages, amounts, measured, amounts, measured)
def test_the_parts_add_up_and_the_interval_holds_the_probable(
    old: list[float], pending: int, cuts: list[tuple[int, float]], left: int, checks: list[tuple[int, float]]
) -> None:
    *parts, total = freeze(old, Work(pending, cuts), Work(left, checks))
    for span in (*parts, total):
        assert 0 <= span.low <= span.probable <= span.high
    assert [total.low, total.probable, total.high] == [
        sum(part.low for part in parts),
        sum(part.probable for part in parts),
        sum(part.high for part in parts),
    ]
    known = (bool(cuts) or not pending) and (bool(checks) or not left)
    assert isfinite(total.probable) == known


@given(measured.filter(bool), st.lists(amounts, min_size=2), ages)
def test_more_to_do_never_takes_less(cuts: list[tuple[int, float]], many: list[int], old: list[float]) -> None:
    found = [freeze(old, Work(amount, cuts), Work(0, []))[-1] for amount in sorted(many)]
    for less, more in pairwise(found):
        assert (more.low, more.probable, more.high) >= (less.low, less.probable, less.high)
    older = freeze([age + 10 for age in old], Work(0, []), Work(0, []))[-1]
    assert older.probable >= freeze(old, Work(0, []), Work(0, []))[-1].probable


@given(st.floats(0, 10), st.floats(0.001, 2), st.lists(st.integers(1, 1_000), min_size=2, unique=True), amounts)
def test_what_is_a_line_is_forecast_exactly(fixed: float, each: float, done: list[int], pending: int) -> None:
    span = freeze([], Work(pending, [(amount, fixed + each * amount) for amount in done]), Work(0, []))[1]
    wanted = fixed + each * pending if pending else 0.0
    assert (span.low, span.probable, span.high) == pytest.approx((wanted, wanted, wanted), rel=0.01, abs=0.05)


def test_what_is_no_line_is_no_nonsense() -> None:
    assert line([(10, 5.0)]) == (0.0, 0.5)
    assert line([(10, 9.0), (100, 1.0)]) == (5.0, 0.0)  # small cuts took longer: no time below 0
    assert line([(100, 1.0), (200, 30.0)]) == (0.0, 31 / 300)


def test_nothing_to_do_takes_the_flip() -> None:
    total = freeze([], Work(0, []), Work(0, []))[-1]
    assert (total.low, total.probable, total.high) == FLIP
    assert str(total) == "freeze 2.0 s (0.5 s to 5.0 s)"
    assert freeze([], Work(5, []), Work(0, []))[-1].probable == inf
