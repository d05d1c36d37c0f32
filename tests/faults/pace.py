"""Simulated time: a worker's clocks run faster than the world's, and long waits are skipped when all of a world wait.

Every clock that the loader decides by goes `factor` times as fast: the process's own, its sleeps, and, shared by all
workers of a world, the manifest database's (SQLite's) and Medplum's. Sockets and locks keep the real one: who injects a
fault, or sets a timeout, divides its seconds by the factor. What the machine itself needs looks longer for it, never
shorter.

Who waits for long, while no other worker of the world is awake and none has a batch under way, does not sleep: it
moves the clocks of the world on, and with them what stalls in the server and what a search lags behind. So nothing
happens in another order than if it had slept.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import queue
import selectors
import sqlite3
import struct
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

KEEP_THE_REAL_CLOCK = (queue, selectors, threading)
"""They take the clock when they are imported, which is here, before it is another."""

LONG, STRIDE = 5.0, 60.0
"""Simulated seconds: so long a sleep is skipped, at least by so much. Who looks again and again looks less often."""

_sleep, _monotonic, _time = time.sleep, time.monotonic, time.time


class Pace:
    """The time of one worker; `folder` and `base_url` are its world's, and of its server, or of what stands before."""

    def __init__(self, factor: float, folder: Path, base_url: str) -> None:
        self.factor, self._base_url = factor, base_url
        self._awake_file = folder / "awake"
        self._own = os.open(self._awake_file, os.O_RDWR | os.O_CREAT)
        """Locked (shared) while this worker is awake; the system unlocks it when the worker dies."""
        fcntl.flock(self._own, fcntl.LOCK_SH)
        self._skipped = _shared_number(folder / "skipped")
        self._lock = threading.Lock()
        self._asleep, self._busy = 0, 0

    def now(self, clock: float) -> float:
        """What a real clock would say if nothing had been skipped."""
        return clock + float(struct.unpack_from("d", self._skipped)[0])

    def sleep(self, seconds: float) -> None:
        """So many simulated ones."""
        if seconds < LONG:
            return _sleep(seconds / self.factor)
        with self._counted(asleep=1):
            if not self._skip(max(seconds, STRIDE) / self.factor):
                _sleep(seconds / self.factor)
        return None

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Nothing is skipped meanwhile, by nobody."""
        with self._counted(busy=1):
            yield

    @contextmanager
    def _counted(self, asleep: int = 0, busy: int = 0) -> Iterator[None]:
        self._count(asleep, busy)
        try:
            yield
        finally:
            self._count(-asleep, -busy)

    def _count(self, asleep: int, busy: int) -> None:
        with self._lock:
            self._asleep, self._busy = self._asleep + asleep, self._busy + busy
            fcntl.flock(self._own, fcntl.LOCK_SH if self._busy or not self._asleep else fcntl.LOCK_UN)

    def _skip(self, seconds: float) -> bool:
        """Move everything on by so many real seconds. False: somebody is awake."""
        with self._awake_file.open("rb+") as others:
            try:
                fcntl.flock(others, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            body = json.dumps({"ms": 1_000 * seconds}).encode()
            urllib.request.urlopen(urllib.request.Request(f"{self._base_url}advance", body, method="POST")).close()
            struct.pack_into("d", self._skipped, 0, self.now(0.0) + seconds)
            return True


def _shared_number(file: Path) -> mmap.mmap:
    """Eight bytes that all who ask share, at first 0.0."""
    number = os.open(file, os.O_RDWR | os.O_CREAT)
    os.ftruncate(number, 8)
    return mmap.mmap(number, 8)


_pace: Pace | None = None
"""None: time is real."""


def begin() -> None:
    """To be called before anything is imported that keeps a clock or a sleep of its own."""
    time.sleep = lambda seconds: _pace.sleep(seconds) if _pace else _sleep(seconds)  # type: ignore[assignment]
    time.monotonic = lambda: _pace.now(_monotonic()) * _pace.factor if _pace else _monotonic()


@contextmanager
def busy() -> Iterator[None]:
    """A batch is on its way: what lies between its note and its end takes real time."""
    if _pace is None:
        yield
    else:
        with _pace.busy():
            yield


def quicken(factor: float, origin: float, folder: Path, base_url: str) -> None:
    """From now on this process's time goes so fast; its manifest's did so since `origin` (of the real clock)."""
    global _pace  # noqa: PLW0603 -- there is one time in a process
    if factor == 1.0:
        return
    import sqlalchemy as sa  # after `begin`

    from medferry.medplum.server_clock import ServerClock

    _pace = pace = Pace(factor, folder, base_url)

    def simulated() -> datetime:
        return datetime.fromtimestamp(origin + (pace.now(_time()) - origin) * factor, UTC)

    def strftime(form: str, moment: str, offset: str) -> str:
        assert (form, moment) == ("%Y-%m-%dT%H:%M:%fZ", "now"), "the manifest's clock asks in another way now"
        then = simulated() + timedelta(seconds=float(offset.removesuffix(" seconds")))
        return then.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def learn(clock: ServerClock, _answer: object) -> None:
        clock._told = simulated(), clock.clock()

    def connected(connection: Any, _record: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.create_function("strftime", -1, strftime)

    ServerClock.learn = learn  # type: ignore[assignment]
    sa.event.listen(sa.pool.Pool, "connect", connected)
