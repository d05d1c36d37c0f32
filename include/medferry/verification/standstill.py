"""Whether the process that verifies stood still: it was stopped, or its machine slept or was restored from a snapshot.

It never died, so nobody went on with its verification; yet what it had read before may be long out of date.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from medferry.manifest.verifications import PART_SECONDS
from medferry.runtime.beat import beating

_BEAT_SECONDS = 30.0


def _clock() -> float:
    """The wall clock, in seconds: another goes on during no sleep of the machine."""
    return time.time()


@dataclass
class StandstillWatch:
    """Beats as long as the process runs; between two beats a process that runs lets no hour pass."""

    last: float = field(default_factory=_clock)
    stood: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def beat(self) -> None:
        with self.lock:
            present = _clock()
            self.stood |= present - self.last > PART_SECONDS
            self.last = present

    def stood_still(self) -> bool:
        """Whether the process did, for longer than a part of a verification counts, since this was asked last."""
        self.beat()
        with self.lock:
            stood, self.stood = self.stood, False
        return stood


@contextmanager
def watching() -> Iterator[StandstillWatch]:
    """A watch that beats in a thread of its own, whatever the process waits for."""
    watch = StandstillWatch()
    with beating("standstill", _BEAT_SECONDS, watch.beat):
        yield watch
