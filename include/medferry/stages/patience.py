"""How a slice waits for what was sent of it and got no answer: it looks again and again, and says that it waits."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from medferry.apply.chunk import LOST, WAITING
from medferry.apply.writer import NotSettled
from medferry.runtime.control import checkpoint
from medferry.runtime.hold import Hold

log = logging.getLogger(__name__)

LOSSES = 10
"""Passes that settled nothing and lost another answer, before the slice gives up (and is retried later)."""

LEAST_SECONDS = 600.0
"""Nor does it give up sooner after the last progress: where the time to settle is short, ten losses may be bad luck."""

_LOOK_SECONDS = 5.0
"""Medplum is asked so often whether something has arrived; more often where the time to settle is short."""


@dataclass
class Patience:
    """The waits of one slice."""

    hold: Hold
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    _told: int = 0
    _losses: int = 0
    _progress_at: float = field(init=False)

    def __post_init__(self) -> None:
        self._progress_at = self.clock()

    def wait(self, undecided: Counter[str], progress: bool) -> None:
        """Wait until it is time to look again. Raises RunAborted, LeaseLost; NotSettled after too many lost answers."""
        settle = self.hold.environment.settings.settle_seconds
        number, slice_ = undecided[WAITING], self.hold.slice
        entity = slice_.entity if slice_ else ""
        if progress:
            self._losses, self._progress_at = 0, self.clock()
        else:
            self._losses += bool(undecided[LOST])
        if self._losses >= LOSSES and self.clock() - self._progress_at >= LEAST_SECONDS:
            raise NotSettled(
                f"{number} records of {entity} could not be settled: batch after batch got no answer.",
                "Check Medplum's health, and what stands before it; the task's retry, or a new run, goes on from here.",
            )
        if number != self._told:
            self._told = number
            log.warning(
                "%d records of %s wait: a batch of them got no answer and may be at work still. They are looked up "
                "until their end is known, for up to %.0f s; the rest of the load goes on.",
                number,
                entity,
                settle,
            )
        checkpoint(self.hold.environment, self.hold.run)
        self.hold.keep()
        self.sleep(min(settle / 10, _LOOK_SECONDS))
