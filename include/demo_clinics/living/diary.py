"""What the people of the clinic have done, in which system and when, and what of it was seen on the other side."""

from __future__ import annotations

import math
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from demo_clinics.living.facts import OF_MEDPLUM_ALONE, Facts, Record


class Side(StrEnum):
    """A system that people work in."""

    LEGACY = "legacy"
    MEDPLUM = "Medplum"


Place = tuple[str, str, str]
"""(entity, key, field)."""


@dataclass(slots=True)
class Edit:
    """A value that somebody has committed. `at` and `seen` are seconds since the epoch; seen: on the other side."""

    side: Side
    value: str | None
    at: float
    seen: float | None = None


@dataclass(frozen=True, slots=True)
class Birth:
    """What somebody has created in Medplum: it has no key before it has a row."""

    entity: str
    facts: Facts
    at: float


@dataclass(slots=True)
class Diary:
    """All edits by place, in the order of their commits. `both_ways`: the legacy system is to follow Medplum, too."""

    both_ways: bool
    edits: dict[Place, list[Edit]] = field(default_factory=lambda: defaultdict(list))
    done: Counter[tuple[Side, str]] = field(default_factory=Counter)
    """Acts by side and name; "undone" are those that were rolled back."""
    lags: dict[Side, list[float]] = field(default_factory=lambda: {side: [] for side in Side})
    """Seconds from a commit until the other side had it, by the side of the edit."""
    born: dict[Side, set[Record]] = field(default_factory=lambda: {side: set() for side in Side})
    """Records by the side that they were created in; those of Medplum, once they have a row."""
    births: dict[str, Birth] = field(default_factory=dict)
    """Medplum's id → what was created there, whether or not it has a row."""
    unborn: set[str] = field(default_factory=set)
    """Ids of those that have not shown a row's identifier yet."""
    _pending: dict[Side, dict[Place, Edit]] = field(default_factory=lambda: {side: {} for side in Side})
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _at_work: set[Record] = field(default_factory=set)

    @contextmanager
    def working_on(self, record: Record) -> Iterator[bool]:
        """Whether nobody else is at work on a record, until the end of the context: so that the order is known."""
        with self._lock:
            free = record not in self._at_work
            self._at_work.add(record)
        try:
            yield free
        finally:
            if free:
                with self._lock:
                    self._at_work.discard(record)

    def note(self, side: Side, act: str, record: Record, facts: Facts, at: float, born: bool = False) -> None:
        """Somebody has committed `facts` of a record, which may be `born` with them."""
        with self._lock:
            self.done[side, act] += 1
            self._add(side, record, facts, at)
            if born:
                self.born[side].add(record)

    def note_birth(self, act: str, entity: str, medplum_id: str, facts: Facts, at: float) -> None:
        """Medplum has acknowledged what somebody has created there."""
        with self._lock:
            self.done[Side.MEDPLUM, act] += 1
            self.births[medplum_id] = Birth(entity, facts, at)
            self.unborn.add(medplum_id)

    def saw_born(self, medplum_id: str, record: Record) -> bool:
        """A resource shows a row's identifier; whether it is a birth that had none. From now on it is that record."""
        with self._lock:
            if medplum_id not in self.unborn:
                return False
            birth = self.births[medplum_id]
            self.unborn.discard(medplum_id)
            self.born[Side.MEDPLUM].add(record)
            self._add(Side.MEDPLUM, record, birth.facts, birth.at)
            return True

    def _add(self, side: Side, record: Record, facts: Facts, at: float) -> None:
        for name, value in facts.items():
            place, edit = (*record, name), Edit(side, value, at)
            self.edits[place].append(edit)
            if self._is_to_arrive(side, name):
                self._pending[side][place] = edit

    def note_undone(self, side: Side) -> None:
        with self._lock:
            self.done[side, "undone"] += 1

    def _is_to_arrive(self, side: Side, name: str) -> bool:
        return side is Side.LEGACY or (self.both_ways and name not in OF_MEDPLUM_ALONE)

    def saw(self, record: Record, facts: Mapping[str, str | None], on: Side, at: float, now: float) -> None:
        """A side has shown a record at `at`: what was waiting there for the same value has arrived."""
        writer = Side.MEDPLUM if on is Side.LEGACY else Side.LEGACY
        with self._lock:
            for name, value in facts.items():
                edit = self._pending[writer].get((*record, name))
                if edit is not None and edit.value == value:
                    edit.seen = now
                    self.lags[writer].append(max(at - edit.at, 0.0))
                    del self._pending[writer][(*record, name)]

    def found_the_same(self, record: Record, facts: Mapping[str, str | None], on: Side) -> None:
        """A side says the same now, whether or not it was ever changed: what was undone at once never goes over."""
        writer = Side.MEDPLUM if on is Side.LEGACY else Side.LEGACY
        with self._lock:
            for name, value in facts.items():
                edit = self._pending[writer].get((*record, name))
                if edit is not None and edit.value == value:
                    del self._pending[writer][(*record, name)]

    def pending(self, writer: Side) -> list[Place]:
        """What a side has written and the other has not shown yet."""
        with self._lock:
            return list(self._pending[writer])

    def total(self, side: Side) -> int:
        with self._lock:
            return sum(number for (of, act), number in self.done.items() if of is side and act != "undone")


def last_words(edits: list[Edit]) -> list[Edit]:
    """Those that may stand at the end: the last one, and one of the other side that its writer had not seen."""
    last = edits[-1]
    others = [edit for edit in edits if edit.side is not last.side]
    unseen = others and (others[-1].seen is None or others[-1].seen > last.at)
    return [last, others[-1]] if unseen else [last]


def quantile(values: list[float], share: float) -> float | None:
    """The smallest value that at least so large a share of all does not exceed."""
    ordered = sorted(values)
    return ordered[max(math.ceil(len(ordered) * share) - 1, 0)] if ordered else None
