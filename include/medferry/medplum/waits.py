"""What the threads of a client wait for, and since when: to be told, and to be cut short."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum


class WaitFor(StrEnum):
    """What holds a thread up."""

    QUOTA = "quota"
    RECOVERY = "Medplum, which keeps failing"
    ANSWER = "an answer"


HEED_SECONDS = 2.0
"""Of a wait, between two looks whether it is to end."""


@dataclass
class Waits:
    """Shared by all threads of a client. `heed` is called at each look, and ends the wait by what it raises."""

    clock: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep
    heed: Callable[[], None] = lambda: None
    _since: dict[int, tuple[WaitFor, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def waiting(self, what: WaitFor, since: float | None = None) -> Iterator[None]:
        """The present thread waits until the end of the context; of a wait within a wait, the inner one counts.

        `since`: it began at that time of the clock already, with pauses.
        """
        thread = threading.get_ident()
        with self._lock:
            outer = self._since.get(thread)
            self._since[thread] = what, self.clock() if since is None else since
        try:
            yield
        finally:
            with self._lock:
                self._since.pop(thread)
                if outer is not None:
                    self._since[thread] = outer

    def sleep(self, what: WaitFor, seconds: float, since: float | None = None) -> None:
        """Wait so long for something. Raises what `heed` raises."""
        with self.waiting(what, since):
            until = self.clock() + seconds
            while (left := until - self.clock()) > 0:
                self.heed()
                self.pause(min(left, HEED_SECONDS))

    def longest(self) -> dict[WaitFor, float]:
        """For what somebody waits now → seconds since the first of them began."""
        with self._lock:
            present, now = list(self._since.values()), self.clock()
        return {what: max(now - since for of, since in present if of is what) for what in {of for of, _ in present}}
