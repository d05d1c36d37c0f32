"""The periods of a history: whole months or years, the newest first, which together hold every record once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from medferry.plan.model import Every, History


@dataclass(frozen=True, slots=True)
class Period:
    """The days from `start` until before `end`. None: without end; one without a start takes what has no date, too."""

    start: date | None
    end: date | None

    def __str__(self) -> str:
        return f"{self.start or '…'} to {self.end or '…'}"


def periods_of(history: History, today: date) -> list[Period]:
    """All periods that are over, the newest first; the first one also where none is."""
    found: list[Period] = []
    start = history.since
    while not found or next_start(history.every, start) <= today:
        end = next_start(history.every, start)
        found.append(period_between(history, start, end, today))
        start = end
    return found[::-1]


def period_between(history: History, start: date, end: date, today: date) -> Period:
    """The period [start, end) of a history. The first takes what is older or undated, the last that is over what is
    newer: no record is in none.
    """
    return Period(
        None if start <= history.since else start,
        None if next_start(history.every, end) > today else end,
    )


def next_start(every: Every, day: date) -> date:
    """The first day of the period after the one that `day` is in."""
    if every is Every.YEAR:
        return date(day.year + 1, 1, 1)
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)
