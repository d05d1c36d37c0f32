"""Simulated time: nothing waits, and three machines disagree about the present.

To be begun before anything is imported that keeps a clock or a sleep of its own; so the simulator is a process of its
own. The program's clock and the manifest's are one machine's, the legacy database's and Medplum's are others.
"""

from __future__ import annotations

import concurrent.futures
import queue
import selectors
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

KEEP_THE_REAL_CLOCK = (concurrent.futures, queue, selectors, threading)
"""They take the clock when they are imported, which is here, before it is another."""

_TICK = 0.000_05
"""Seconds that every look at a clock takes, so that no two moments are one."""


class Clock:
    """The true time in seconds since 1970, and how far each machine is from it."""

    def __init__(self) -> None:
        self.true = 0.0
        self.program = self.legacy = self.medplum = 0.0
        self._started = time.monotonic()
        self._origin = 0.0

    def set(self, true: float, program: float = 0.0, legacy: float = 0.0, medplum: float = 0.0) -> None:
        """Begin anew. The process's monotonic clock goes on."""
        self._started = self.monotonic()
        self.true = self._origin = true
        self.program, self.legacy, self.medplum = program, legacy, medplum

    def tick(self) -> float:
        self.true += _TICK
        return self.true

    def monotonic(self) -> float:
        return self._started + self.tick() - self._origin

    def sleep(self, seconds: float) -> None:
        self.true += max(0.0, seconds)


clock = Clock()


def begin() -> None:
    """From now on the process's time is simulated."""
    time.sleep = clock.sleep
    time.monotonic = clock.monotonic
    time.time = lambda: clock.tick() + clock.program
    time.clock_gettime = lambda _: clock.monotonic()


def begin_dates() -> None:
    """The same for the program's modules that ask `datetime`; to be called when they are imported."""
    for name, module in list(sys.modules.items()):
        if name.startswith("medferry") and getattr(module, "datetime", None) is datetime:
            vars(module)["datetime"] = Moment


class _Kind(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, datetime)


class Moment(datetime, metaclass=_Kind):
    """`datetime` with the program's clock."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Any:
        return datetime.fromtimestamp(clock.tick() + clock.program, tz)


def instant(seconds: float) -> str:
    """Seconds since 1970 as FHIR and the manifest write them."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def teach(connection: sqlite3.Connection, offset: Callable[[], float]) -> None:
    """Give a SQLite connection the clock of a machine."""

    def now() -> datetime:
        return datetime.fromtimestamp(clock.tick() + offset(), UTC)

    def strftime(form: str, moment: str, later: str = "+0 seconds") -> str:
        at = now() if moment == "now" else datetime.fromisoformat(moment).replace(tzinfo=UTC)
        at += timedelta(seconds=float(later.removesuffix(" seconds")))
        if form == "%s":
            return str(int(at.timestamp()))
        assert form == "%Y-%m-%dT%H:%M:%fZ", "a clock is asked in another way now"
        return instant(at.timestamp())

    def plain(*_: object) -> str:
        return f"{now():%Y-%m-%d %H:%M:%S}"

    connection.create_function("strftime", -1, strftime)
    connection.create_function("datetime", 1, plain)
    connection.create_function("current_timestamp", 0, plain)
