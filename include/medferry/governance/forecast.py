"""How long a wave's freeze would take if it began now: drain, catch up, check, flip, with an interval. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from statistics import fmean

FLIP = (0.5, 2.0, 5.0)
"""Seconds of the acts that flip (gates, policy, routing), at least, probably, at most. Stated, not measured."""

_LIKELY = (0.1, 0.9)
"""The interval leaves out a tenth of what was measured at each end."""


@dataclass(frozen=True, slots=True)
class Span:
    """Seconds that something takes: at least, probably, at most; infinite where nothing was measured."""

    name: str
    low: float
    probable: float
    high: float

    def __str__(self) -> str:
        return f"{self.name} {_told(self.probable)} ({_told(self.low)} to {_told(self.high)})"


@dataclass(frozen=True, slots=True)
class Work:
    """Work that was measured: `done` are pairs of an amount and the seconds that it took."""

    amount: int
    done: Sequence[tuple[int, float]]


def freeze(ages: Sequence[float], pending: Work, to_check: Work) -> list[Span]:
    """The parts of a freeze, and their sum at the end.

    `ages`: of the transactions that write now, in seconds: closing waits for them, for no one longer than it may be old
    when it ends. `pending`: keys in no cut yet, and cuts; `to_check`: records not verified as they are, and
    verifications.
    """
    parts = [
        Span("drain", 0.0, quantile(ages, 0.99), max(ages, default=0.0)),
        _of_work("catch up", pending),
        _of_work("check", to_check),
        Span("flip", *FLIP),
    ]
    sums = (sum(getattr(part, name) for part in parts) for name in ("low", "probable", "high"))
    return [*parts, Span("freeze", *sums)]


def _of_work(name: str, work: Work) -> Span:
    """By the line through what was measured, and how far that lay beside it."""
    if not work.amount:
        return Span(name, 0.0, 0.0, 0.0)
    done = [(amount, seconds) for amount, seconds in work.done if amount > 0 and seconds > 0]
    if not done:
        return Span(name, 0.0, inf, inf)
    fixed, each = line(done)
    probable = fixed + each * work.amount
    ratios = [seconds / (fixed + each * amount) for amount, seconds in done]
    low, high = (quantile(ratios, share) for share in _LIKELY)
    return Span(name, probable * min(low, 1.0), probable, probable * max(high, 1.0))


def line(done: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """(seconds of any work, seconds more for each), by least squares, neither below 0. `done` is all above 0."""
    amounts, seconds = [amount for amount, _ in done], [took for _, took in done]
    middle, mean = fmean(amounts), fmean(seconds)
    spread = sum((amount - middle) ** 2 for amount in amounts)
    through_origin = sum(seconds) / sum(amounts)
    if not spread:
        return 0.0, through_origin
    each = sum((amount - middle) * (took - mean) for amount, took in done) / spread
    fixed = mean - each * middle
    if each < 0:
        return mean, 0.0
    return (fixed, each) if fixed >= 0 else (0.0, through_origin)


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least so large a share of all does not exceed; of none 0."""
    ordered = sorted(values)
    if not ordered:
        return 0.0
    wanted = share * len(ordered)
    return next(value for number, value in enumerate(ordered, start=1) if number >= wanted)


def _told(seconds: float) -> str:
    return "not known" if seconds == inf else f"{seconds:.1f} s"
