"""How far a task is, in one line: who, what, done of total, rate, end, results, points left, what it waits for."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_MOST_REASONS = 5
WORTH_TELLING = 10.0
"""Seconds that something must have been waited for before it is told."""


@dataclass(frozen=True, slots=True)
class Progress:
    """`who` is the task ("load of patient, run …"). `done` and `total` are source records; `begun` those that were
    done when the task began. `results` are counts by word; `waits`: what is waited for → seconds.
    """

    who: str
    done: int
    total: int
    begun: int
    seconds: float
    results: Mapping[str, int]
    points_left: float | None = None
    waits: Mapping[str, float] = field(default_factory=dict)


@dataclass
class Tally:
    """What a task has done, added up by its threads."""

    done: int = 0
    begun: int = 0
    """Of `done`, what others had done before."""
    results: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, done: int = 0, results: Iterable[str] = (), reasons: Iterable[str] = ()) -> None:
        with self._lock:
            self.done += done
            self.results.update(results)
            self.reasons.update(reason for reason in reasons if reason)

    def add_earlier(self, done: int) -> None:
        with self._lock:
            self.done += done
            self.begun += done

    def read(self) -> tuple[int, Counter[str], Counter[str]]:
        """(done, results, reasons), as of one moment."""
        with self._lock:
            return self.done, self.results.copy(), self.reasons.copy()


def line_of(progress: Progress) -> str:
    """One line for a log."""
    parts = [f"{progress.who}: {_share(progress)}", _speed(progress), told(progress.results)]
    if progress.points_left is not None:
        parts.append(f"{progress.points_left:,.0f} points left")
    parts += [
        f"waits for {what} since {duration(seconds)}"
        for what, seconds in sorted(progress.waits.items())
        if seconds >= WORTH_TELLING
    ]
    return "; ".join(part for part in parts if part)


def last_line_of(who: str, done: int, seconds: float, results: Mapping[str, int], reasons: Mapping[str, int]) -> str:
    """What is said at the end of a task, with the main reasons of what did not arrive."""
    most = sorted(reasons.items(), key=lambda each: (-each[1], each[0]))[:_MOST_REASONS]
    main = ", ".join(f"{number:,} {reason}" for reason, number in most)
    more = f", and {len(reasons) - _MOST_REASONS} more reasons" if len(reasons) > _MOST_REASONS else ""
    parts = [f"{who}: {done:,} records in {duration(seconds)}", told(results), main and f"main reasons: {main}{more}"]
    return "; ".join(part for part in parts if part)


def told(results: Mapping[str, int]) -> str:
    """Counts by word, the greatest first."""
    found = sorted(((number, word) for word, number in results.items() if number), key=lambda each: (-each[0], each[1]))
    return ", ".join(f"{number:,} {word}" for number, word in found)


def duration(seconds: float) -> str:
    """A time that a person reads: 40 s, 12 min, 3 h 05 min."""
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    minutes = round(whole / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02} min"


def _share(progress: Progress) -> str:
    if not progress.total:
        return f"{progress.done:,} done"
    return f"{progress.done:,} of {progress.total:,} ({100 * progress.done // progress.total} %)"


def _speed(progress: Progress) -> str:
    """Rate and time to go, by what was done since the task began."""
    rate = (progress.done - progress.begun) / progress.seconds if progress.seconds > 0 else 0.0
    if rate <= 0:
        return "no record yet" if progress.done < progress.total else ""
    left = max(progress.total - progress.done, 0) / rate
    shown = f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
    return f"{shown} a second" + (f", about {duration(left)} to go" if progress.done < progress.total else "")
