"""The circuit breaker of a slice: a fault that hits row after row stops it before it has decided a million rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from threading import Lock

from medferry.errors import MedferryError
from medferry.mapping.outcomes import SYSTEMATIC

LEAST = 20
"""Source records that must have failed for the same reason: a few bad rows in a small slice are no system."""


class BreakerOpen(MedferryError):
    """Too many source records of a slice failed for one reason; the rest of them was left alone."""


@dataclass(slots=True)
class Breaker:
    """Counts what became of the source records of one slice. `share` of them may fail for one reason; 1 never stops."""

    entity: str
    share: float
    total: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    lock: Lock = field(default_factory=Lock, repr=False)

    def count(self, reason: str, number: int = 1) -> None:
        """Tell of `number` decided units ("" for success)."""
        with self.lock:
            self.total += number
            if reason in SYSTEMATIC:
                self.failed[reason] += number

    @property
    def cause(self) -> str:
        """The reason that makes it trip, or ""."""
        over = (r for r, number in list(self.failed.items()) if number >= LEAST and number > self.share * self.total)
        return next(over, "")

    def check(self) -> None:
        """Raises BreakerOpen when it trips. To be called when what was counted is recorded."""
        if cause := self.cause:
            raise BreakerOpen(
                f"{self.failed[cause]} of the first {self.total} source records of {self.entity} failed: {cause}.",
                "See `medferry dead-letters`; mend the cause, then run again (or set stop_at_share to 1).",
            )
