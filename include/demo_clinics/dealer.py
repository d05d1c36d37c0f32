"""Deals the kinds of dirt to records, in turn."""

from collections import Counter, deque
from dataclasses import dataclass, field
from random import Random

from demo_clinics.catalogue import KINDS, Kind
from demo_clinics.dirt import NextKey, spoil, suits
from demo_clinics.record import Record

# Structural rows carry others with them, and the group has few rows: their own paces.
_EVERY = {"location": 12, "staff": 10, "assignment": 10, "patient": 40, "appointment": 40, "encounter": 40}
_DEFAULT_EVERY = 25

# A kind that is too heavy to repeat at every scale: at most so many rows.
_LIMITS = {("note", "oversized-text"): 5}


@dataclass(slots=True)
class Dealer:
    """Gives every n-th row of an entity the next kind of its table; a kind waits for the next row that suits it.

    `pace` divides the distance between dirty rows (2: twice as much dirt); 0 deals nothing.
    """

    pace: float = 1.0
    dealt: Counter[tuple[str, str]] = field(default_factory=Counter)
    _rows: Counter[str] = field(default_factory=Counter)
    _turns: Counter[str] = field(default_factory=Counter)
    _waiting: dict[str, deque[Kind]] = field(default_factory=dict)

    def deal(self, record: Record, next_key: NextKey, rng: Random) -> list[Record]:
        """Perhaps spoil `record`; the records that come with it (a double entry, say)."""
        kinds = _BY_ENTITY.get(record.entity)
        if not kinds or not self.pace:
            return []
        waiting = self._waiting.setdefault(record.entity, deque())
        self._rows[record.entity] += 1
        every = max(round(_EVERY.get(record.entity, _DEFAULT_EVERY) / self.pace), 1)
        if self._rows[record.entity] % every == 0:
            waiting.append(kinds[self._turns[record.entity] % len(kinds)])
            self._turns[record.entity] += 1
        kind = next((k for k in waiting if suits(k, record)), None)
        if kind is None:
            return []
        waiting.remove(kind)
        if self.dealt[record.entity, kind.name] >= _LIMITS.get((record.entity, kind.name), 10**9):
            return []
        self.dealt[record.entity, kind.name] += 1
        return spoil(record, kind, next_key, rng)


_BY_ENTITY: dict[str, list[Kind]] = {}
for _kind in KINDS:
    _BY_ENTITY.setdefault(_kind.entity, []).append(_kind)
