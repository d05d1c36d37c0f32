"""Simulated time: a worker's clocks run faster than the world's, so that ten minutes of waiting take two seconds.

Every clock that the loader decides by goes `factor` times as fast: the process's own, its sleeps, and, shared by all
workers of a world, the manifest database's (SQLite's) and Medplum's. Sockets and locks keep the real one: who injects a
fault, or sets a timeout, divides its seconds by the factor. What the machine itself needs looks longer for it, never
shorter.
"""

from __future__ import annotations

import queue
import selectors
import sqlite3
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

KEEP_THE_REAL_CLOCK = (queue, selectors, threading)
"""They take the clock when they are imported, which is here, before it is another."""

_sleep, _monotonic, _time = time.sleep, time.monotonic, time.time

_pace = {"factor": 1.0}


def begin() -> None:
    """To be called before anything is imported that keeps a clock or a sleep of its own."""
    time.sleep = lambda seconds: _sleep(seconds / _pace["factor"])  # type: ignore[assignment]
    time.monotonic = lambda: _monotonic() * _pace["factor"]


def quicken(factor: float, origin: float) -> None:
    """From now on this process's time goes so fast; its manifest's did so since `origin` (of the real clock)."""
    import sqlalchemy as sa  # after `begin`

    from medferry.medplum.server_clock import ServerClock

    _pace["factor"] = factor

    def simulated() -> datetime:
        return datetime.fromtimestamp(origin + (_time() - origin) * factor, UTC)

    def strftime(form: str, moment: str, offset: str) -> str:
        assert (form, moment) == ("%Y-%m-%dT%H:%M:%fZ", "now"), "the manifest's clock asks in another way now"
        then = simulated() + timedelta(seconds=float(offset.removesuffix(" seconds")))
        return then.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def learn(clock: ServerClock, _answer: object) -> None:
        clock._told = simulated(), clock.clock()

    def connected(connection: Any, _record: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.create_function("strftime", -1, strftime)

    if factor != 1.0:
        ServerClock.learn = learn  # type: ignore[assignment]
        sa.event.listen(sa.pool.Pool, "connect", connected)
