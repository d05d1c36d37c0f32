"""The freeze's forecast: its interval holds it, it never falls when there is more to do, and it says when it cannot."""

from __future__ import annotations

from itertools import pairwise
from math import inf, isfinite
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medferry.governance.forecast import FLIP, WAITS, Span, Work, each_takes, freeze, line, score, waits_between
from medferry.manifest.cutovers import ActRow, Attempt, AttemptState, Direction
from medferry.manifest.freezes import BY_STAGES, CAUGHT_UP, CHECKED, FORECAST, MeasuredFreeze, measured_freeze

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


# -- by the freezes that there were ----------------------------------------------------------------

parts_of_freezes = st.lists(st.tuples(seconds, seconds, seconds, seconds, amounts, amounts), min_size=1, max_size=12)


def measured_one(
    *parts: float, waits: float = 0.0, by_stages: bool = False, forecast: tuple[float, float, float] | None = None
) -> MeasuredFreeze:
    drain, catch_up, check, flip, caught_up, checked = parts
    amounts = (int(caught_up), int(checked))
    return MeasuredFreeze("pilot", "t", drain, catch_up, check, flip, waits, *amounts, by_stages, forecast)


@given(ages, amounts, measured, amounts, measured, parts_of_freezes)
def test_after_a_freeze_it_is_always_known_and_holds_the_probable(
    old: list[float],
    pending: int,
    cuts: list[tuple[int, float]],
    left: int,
    checks: list[tuple[int, float]],
    before: list[tuple[float, ...]],
) -> None:
    *parts, total = freeze(old, Work(pending, cuts), Work(left, checks), [measured_one(*one) for one in before])
    for span in (*parts, total):
        assert 0 <= span.low <= span.probable <= span.high < inf


@given(measured, st.lists(amounts, min_size=2), parts_of_freezes)
def test_after_a_freeze_too_more_to_do_never_takes_less(
    cuts: list[tuple[int, float]], many: list[int], before: list[tuple[float, ...]]
) -> None:
    freezes = [measured_one(*one) for one in before]
    found = [freeze([], Work(amount, cuts), Work(0, []), freezes)[-1] for amount in sorted(many)]
    for less, more in pairwise(found):
        assert (more.low, more.probable, more.high) >= (less.low, less.probable, less.high)


@given(st.tuples(*[seconds] * 4), amounts, amounts, st.integers(1, 12))
def test_freezes_that_take_the_same_are_forecast_exactly(
    parts: tuple[float, ...], caught_up: int, checked: int, number: int
) -> None:
    before = [measured_one(*parts, caught_up, checked)] * number
    work = Work(caught_up, [(1, 9.0), (5_000, 60.0)]), Work(checked, [(1_000, 60.0), (1_001, 400.0)])
    total = freeze([parts[0]], *work, before)[-1]
    assert total.probable == pytest.approx(before[0].seconds)
    assert total.low < total.probable < total.high, "what comes is not what was"


@given(st.tuples(*[seconds] * 4), st.integers(10, 20), st.floats(10, 1_000))
def test_one_that_took_ever_so_long_bends_nothing(parts: tuple[float, ...], number: int, times: float) -> None:
    usual = [measured_one(*parts, 4, 50)] * (number - 1)
    long = measured_one(*parts[:2], parts[2] * times, parts[3], 4, 50)
    work = Work(4, [(4, 61.0)]), Work(50, [(50, 61.0)])
    with_it, without = (freeze([], *work, before)[-1] for before in ([*usual, long], [*usual, usual[0]]))
    assert with_it == without


@given(st.tuples(*[seconds] * 4), st.integers(1, 1_000), st.floats(0.001, 1))
def test_ten_times_the_work_is_more_and_twice_is_not(parts: tuple[float, ...], number: int, each: float) -> None:
    before = [measured_one(*parts, number, number)] * 3
    done = [(amount, 0.5 + each * amount) for amount in (1, 10, 100, 1_000)]
    usual, twice, tenfold = (
        freeze([], Work(number * times, done), Work(number, done), before)[-1] for times in (1, 2, 10)
    )
    assert twice == usual
    assert tenfold.probable == pytest.approx(usual.probable + each * 9 * number, rel=0.001)
    assert tenfold.low == usual.low and tenfold.high > usual.high + each * 9 * number


def test_who_writes_longer_than_anybody_did_is_waited_for() -> None:
    last = measured_one(0.3, 1.0, 0.5, 0.7, 4, 50)
    total = freeze([0.1, 7.0], Work(0, []), Work(0, []), [last])[-1]
    assert total.probable == pytest.approx(2.5 + 6.7)
    assert freeze([0.1], Work(0, []), Work(0, []), [last])[-1].probable == pytest.approx(2.5)


@given(st.lists(st.floats(0, 300), min_size=1, max_size=12), st.floats(0, 5))
def test_what_a_scheduler_waited_is_forecast_of_what_it_will_do_alone(slow: list[float], quick: float) -> None:
    """The acts take the same in both ways: what is known of them from one counts for the other."""
    one = (0.1, 0.2, 0.3, 0.4, 0, 0)
    staged = [measured_one(*one, waits=each, by_stages=True) for each in slow]
    before = [measured_one(*one, waits=quick), *staged]
    nothing = Work(0, []), Work(0, [])
    quickly, slowly = (
        freeze([], *nothing, before, waits_between(before, by_stages))[-1] for by_stages in (False, True)
    )
    assert (quickly.probable, slowly.probable) == pytest.approx((1.0 + quick, 1.0 + median(slow)))
    assert waits_between(before[:1], by_stages=True) == Span("waits", *WAITS), "until it was measured"
    assert waits_between(staged, by_stages=False) == Span("waits", 0.0, 0.0, 0.0)
    assert freeze([], *nothing, (), Span("waits", *WAITS))[-1].probable == FLIP[1] + WAITS[1]


def test_one_freeze_says_little_and_many_say_more() -> None:
    one = measured_one(0.5, 0.5, 0.5, 0.5, 0, 0)
    wide, narrow = (freeze([], Work(0, []), Work(0, []), [one] * number)[-1] for number in (1, 20))
    assert (wide.low, wide.high) == pytest.approx((2 / 3, 6.0))
    assert (narrow.low, narrow.high) == pytest.approx((2 / 1.1, 2.2))


def test_one_that_waited_for_something_else_is_no_rate() -> None:
    steady = [(8, 61.0), *((amount, 0.2 + 0.05 * amount) for amount in (1, 2, 3, 4, 5))]
    assert each_takes(steady) == pytest.approx(0.05)
    assert each_takes([]) == each_takes([(3, 1.0), (9, 0.1)]) == 0.0


def test_works_of_nearly_one_size_give_no_slope() -> None:
    assert each_takes([(1_000, 2.0), (1_001, 3.0), (1_002, 2.5)]) == pytest.approx(0.0025, rel=0.01)


def test_the_score_is_how_far_a_forecast_was_from_what_it_took() -> None:
    one = (0.0, 0.0, 0.0, 2.0, 0, 0)
    scored = [measured_one(*one, forecast=said) for said in ((1.0, 1.8, 2.0), (1.0, 3.0, 4.0), (2.5, 2.2, 9.0))]
    assert score([measured_one(*one)]) is None
    assert str(score([*scored, measured_one(*one)])) == "3 scored: median error 10%, 2 in the interval"


PARTS = {"drain": ("a",), "catch_up": ("b", "c"), "check": ("d",), "flip": ("e",)}


def at(second: int) -> str:
    return f"2026-01-01T00:00:{second:02}.000Z"


def acts(*names: str) -> list[ActRow]:
    return [ActRow(name, "A", at(2 * n), at(2 * n + 1), False, "") for n, name in enumerate(names)]


def test_the_parts_of_a_freeze_are_its_acts_and_the_rest_is_waited() -> None:
    notes = {CAUGHT_UP: 3, CHECKED: 4, BY_STAGES: True, FORECAST: [1.0, 2.0, 3.0]}
    of = Attempt(1, "pilot", Direction.FORTH, AttemptState.DONE, ("north",), "A", 1, notes, at(0), at(59))
    found = measured_freeze(of, acts("before", *"abxcde", "after"), PARTS)
    assert found == MeasuredFreeze("pilot", at(2), 1.0, 2.0, 1.0, 1.0, 6.0, 3, 4, True, (1.0, 2.0, 3.0))
    assert found.seconds == 11.0, "from the beginning of the first to the end of the last"
    assert measured_freeze(of, acts(*"abcbde"), PARTS) is None, "it was repeated, who knows when"
    assert measured_freeze(of, acts(*"abcd"), PARTS) is None
