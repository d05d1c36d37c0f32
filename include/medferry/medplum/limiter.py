"""How many batches may be in flight: one more after each stretch without strain, half as many at once under strain.

Strain is a 409, a 429, a 5xx or no answer, in a request or in one of its entries. When a server keeps failing, the
lanes close for a while and open again one by one, as a circuit breaker does: a server in trouble is left alone.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import Enum

log = logging.getLogger(__name__)

FAILED_TO_CLOSE = 5
"""Batches in a row without an answer, or with a 5xx, before the lanes close."""

_LONGEST_SECONDS = 30.0


class BatchHealth(Enum):
    """How a batch ended, for the server: `STRAINED` is a conflict or a refusal for want of quota."""

    WELL = "well"
    STRAINED = "strained"
    FAILING = "failing"


def health_of(statuses: Iterable[int]) -> BatchHealth:
    """The worst that the statuses of a batch's entries tell."""
    seen = set(statuses)
    if any(status >= 500 or status in (0, 408) for status in seen):
        return BatchHealth.FAILING
    return BatchHealth.STRAINED if seen & {409, 425, 429} else BatchHealth.WELL


class ConcurrencyLimiter:
    """Shared by all threads of a task. `most` is the operator's bound; `allowed` moves between 1 and it."""

    def __init__(self, most: int, sleep: Callable[[float], None] = time.sleep) -> None:
        self.most = most
        self.allowed = min(2, most)
        self._sleep = sleep
        self._changed = threading.Condition()
        self._in_flight = 0
        self._failed = 0
        self._well = 0

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Wait for a free lane and hold it; waits longer while the lanes are closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._in_flight < self.allowed)
            self._in_flight += 1
            seconds = self._closed_seconds()
        try:
            if seconds:
                log.warning("Medplum keeps failing: nothing is sent for up to %.0f s.", seconds)
                self._sleep(random.uniform(0.5, 1.0) * seconds)
            yield
        finally:
            with self._changed:
                self._in_flight -= 1
                self._changed.notify_all()

    def finished(self, health: BatchHealth) -> None:
        """Tell how a batch ended."""
        with self._changed:
            self._failed = self._failed + 1 if health is BatchHealth.FAILING else 0
            if health is not BatchHealth.WELL:
                self._allow(self.allowed // 2)
                return
            self._well += 1
            if self._well >= 2 * self.allowed:
                self._allow(self.allowed + 1)

    def _closed_seconds(self) -> float:
        """How long a server that failed so often in a row is left alone; 0 for not at all."""
        beyond = self._failed - FAILED_TO_CLOSE
        return 0.0 if beyond < 0 else min(0.5 * 2 ** min(beyond, 10), _LONGEST_SECONDS)

    def _allow(self, lanes: int) -> None:
        self.allowed = max(1, min(lanes, self.most))
        self._well = 0
        self._changed.notify_all()
