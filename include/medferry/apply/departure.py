"""When a noted batch leaves: soon after its note, or not at all.

A process can stand still between the two: stopped, its machine suspended, its host paused. Meanwhile the note's time
runs out, and another worker may send the same names. Whoever wakes must not send what the others have given up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from medferry.medplum.errors import NotReached

_LONGEST_SECONDS = 60.0


def _since_start() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else 0.0


_CLOCKS: tuple[Callable[[], float], ...] = (time.monotonic, time.time, _since_start)
"""Not every clock of every system goes on while a machine is suspended: the one that went furthest is believed."""


def read_clocks() -> tuple[float, ...]:
    """The present, in seconds, by each of them."""
    return tuple(clock() for clock in _CLOCKS)


class NotSent(NotReached):
    """So long after its note a batch is not sent any more: nothing was done."""


@dataclass(frozen=True, slots=True)
class Noted:
    """A note's number, and what this process's clocks said when the note's time began."""

    number: int
    at: tuple[float, ...] = field(default_factory=read_clocks)

    def check(self, settle_seconds: float) -> None:
        """Raises NotSent when more time went by than is left out of account in `settle_seconds`."""
        age = max(now - then for now, then in zip(read_clocks(), self.at, strict=True))
        if age > longest_delay(settle_seconds):
            raise NotSent(
                f"A batch was noted {age:.0f} s ago and not sent yet: this process stood still meanwhile.",
                "Nothing: it is looked up, noted and sent anew, unless another has taken its records over.",
            )


def longest_delay(settle_seconds: float) -> float:
    """Seconds from a note to the sending: a tenth of the time to settle.

    Never less than a second (or that time), which a busy machine may need; never more than a minute.
    """
    return min(max(settle_seconds / 10, 1.0), settle_seconds, _LONGEST_SECONDS)
