"""Medplum's own clock, as the newest answer's `Date` has told it: a second clock beside the manifest database's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx


@dataclass
class ServerClock:
    """Shared by all threads of a client. It is behind by up to a second, and by the way of an answer."""

    clock: Callable[[], float] = time.monotonic
    _told: tuple[datetime, float] | None = None
    """The server's time, and this process's when it came."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def learn(self, answer: httpx.Response) -> None:
        """Take over an answer's `Date`; what is none tells nothing."""
        try:
            date = parsedate_to_datetime(answer.headers.get("date", "")).astimezone(UTC)
        except (ValueError, OverflowError):
            return
        with self._lock:
            self._told = date, self.clock()

    def now(self) -> str:
        """The present in the form in which the manifest keeps times; empty where no answer has told it."""
        with self._lock:
            if self._told is None:
                return ""
            date, at = self._told
            present = date + timedelta(seconds=self.clock() - at)
        return present.isoformat(timespec="milliseconds").replace("+00:00", "Z")
