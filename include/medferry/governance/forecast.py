"""How long a wave's freeze would take if it began now: drain, catch up, check, flip, and the waits between. Pure.

Before the first freeze (or rehearsal) it is made of what cuts and verifications took; after it, of what freezes took.
What a freeze does is the same however it is done; what passes between its acts is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import inf
from statistics import fmean, median

from medferry.manifest.freezes import MeasuredFreeze

FLIP = (0.5, 2.0, 5.0)
"""Seconds of the acts that flip (gates, policy, routing), at least, probably, at most, until they were measured."""

WAITS = (5.0, 20.0, 60.0)
"""Seconds between the acts of a freeze whose stages are tasks of their own (five are begun), until they were measured:
a scheduler takes one to twelve for each."""

_MOST_COMPARED = 60

_MUCH = 2
"""Only amounts of which one is more than so many times the other tell what each record costs."""

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


NO_WAITS = Span("waits", 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Work:
    """Work that was measured: `done` are pairs of an amount and the seconds that it took."""

    amount: int
    done: Sequence[tuple[int, float]]


def freeze(
    ages: Sequence[float],
    pending: Work,
    to_check: Work,
    before: Sequence[MeasuredFreeze] = (),
    waits: Span = NO_WAITS,
) -> list[Span]:
    """The parts of a freeze, and the whole at the end.

    `ages`: of the transactions that write now, in seconds: closing waits for them, for no one longer than it may be old
    when it ends. `pending`: keys in no cut yet, and cuts; `to_check`: records not verified as they are, and
    verifications. `before`: the freezes that there were. With any, what the acts take is the median of all their acts,
    and not the sum of the parts, which are medians of their own. `waits`: `waits_between`.
    """
    if before:
        return _as_before(ages, pending, to_check, before, waits)
    parts = [
        Span("drain", 0.0, quantile(ages, 0.99), max(ages, default=0.0)),
        _of_work("catch up", pending),
        _of_work("check", to_check),
        Span("flip", *FLIP),
        waits,
    ]
    return [*parts, _sum(parts)]


def _sum(parts: Sequence[Span]) -> Span:
    sums = (sum(getattr(part, name) for part in parts) for name in ("low", "probable", "high"))
    return Span("freeze", *sums)


def waits_between(before: Sequence[MeasuredFreeze], by_stages: bool) -> Span:
    """What passes between the acts, as in those freezes that were done in the same way, of whichever wave.

    `by_stages`: each stage is to be a process of its own.
    """
    alike = [one.waits for one in before if one.by_stages is by_stages]
    if alike:
        return _spread("waits", alike)
    return Span("waits", *WAITS) if by_stages else NO_WAITS


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


def _as_before(
    ages: Sequence[float], pending: Work, to_check: Work, before: Sequence[MeasuredFreeze], waits: Span
) -> list[Span]:
    """As the freezes were, and more only for what none of them is likely to have had."""
    waited = max(one.drain for one in before)
    older = max(0.0, quantile(ages, 0.99) - waited)
    oldest = max(0.0, max(ages, default=0.0) - waited)
    caught_up = _more(pending, [one.caught_up for one in before])
    checked = _more(to_check, [one.checked for one in before])
    more, most = older + caught_up + checked, oldest + _MUCH * (caught_up + checked)
    return [
        _spread("drain", [one.drain for one in before], older, oldest),
        _spread("catch up", [one.catch_up for one in before], caught_up, _MUCH * caught_up),
        _spread("check", [one.check for one in before], checked, _MUCH * checked),
        _spread("flip", [one.flip for one in before]),
        waits,
        _sum([_spread("acts", [one.at_work for one in before], more, most), waits]),
    ]


def _spread(name: str, seconds: Sequence[float], more: float = 0.0, most: float = 0.0) -> Span:
    """The median of what was measured, and what `more` there is. The fewer there are, the wider: one says little."""
    low, high = (quantile(seconds, share) for share in _LIKELY)
    wider = 1 + _MUCH / len(seconds)
    return Span(name, low / wider, median(seconds) + more, high * wider + most)


def _more(work: Work, amounts: Sequence[int]) -> float:
    """Seconds for what is to be done beyond `amounts`, which the freezes had; 0 unless it is much more."""
    usual = quantile(amounts, _LIKELY[1])
    return each_takes(work.done) * (work.amount - usual) if work.amount > _MUCH * usual else 0.0


def each_takes(done: Sequence[tuple[int, float]]) -> float:
    """Seconds for each record more: the median of the slopes between works of which one was much larger.

    Where all were of about one size nobody can tell what a record costs: then all of the time was the records', which
    is too much rather than too little. 0 where nothing was measured.
    """
    recent = [(amount, seconds) for amount, seconds in done if amount > 0][:_MOST_COMPARED]
    pairs = list(combinations(sorted(recent), 2))
    slopes = [(took - less) / (more - few) for (few, less), (more, took) in pairs if more > _MUCH * few]
    return max(0.0, median(slopes or [seconds / amount for amount, seconds in recent] or [0.0]))


@dataclass(frozen=True, slots=True)
class Score:
    """How good the forecasts of some freezes were. `median_error`: a share of what the freeze took."""

    number: int
    median_error: float
    inside: int
    """That took no less than it said at least, and no more than at most."""

    def __str__(self) -> str:
        return f"{self.number} scored: median error {self.median_error:.0%}, {self.inside} in the interval"


def score(freezes: Sequence[MeasuredFreeze]) -> Score | None:
    """Of those that were forecast; None: there is none."""
    scored = [(one.seconds, one.forecast) for one in freezes if one.forecast and one.seconds > 0]
    if not scored:
        return None
    errors = [abs(took - probable) / took for took, (_, probable, _) in scored]
    return Score(len(scored), median(errors), sum(low <= took <= high for took, (low, _, high) in scored))


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
