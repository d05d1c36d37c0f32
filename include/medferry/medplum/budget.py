"""The points budget: never send what the quota cannot pay for.

Medplum tells the units left and the seconds to their reset in the header
``RateLimit: "requests";r=59997;t=59, "fhirInteractions";r=49879;t=59``. Costs: docs/medplum.md, "Quota".
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping

READ, SEARCH, WRITE = 1, 20, 100
CONDITIONAL_WRITE_IN_BATCH = 140
"""A conditional create or update inside a batch, at its dearest (a new resource)."""

_WINDOW_SECONDS = 60.0

_LIMIT = re.compile(r'"(?P<name>\w+)"\s*;\s*r=(?P<left>\d+)\s*;\s*t=(?P<seconds>\d+)')


def parse_rate_limit(header: str) -> dict[str, tuple[int, int]]:
    """Limit name → (units left, seconds to reset)."""
    return {m["name"]: (int(m["left"]), int(m["seconds"])) for m in _LIMIT.finditer(header)}


class Budget:
    """Shared by all lanes of a task. `reserve` points are left for the live users of the same client."""

    def __init__(
        self,
        reserve: int = 0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._reserve = reserve
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._left = self._most = float("inf")
        self._reset_at = 0.0
        self._closed_until = 0.0
        self.spent = 0

    def pay(self, points: int) -> None:
        """Wait until `points` can be spent above the reserve, and count them as spent."""
        while (seconds := self._try(points)) > 0:
            self._sleep(seconds)

    def _try(self, points: int) -> float:
        """Spend and return 0, or the seconds to wait."""
        with self._lock:
            now = self._clock()
            if now < self._closed_until:
                return self._closed_until - now
            if now >= self._reset_at:
                self._left = self._most  # a new minute holds at least what was left in one before
                self._reset_at = now + _WINDOW_SECONDS  # until the next answer tells it
            if self._left - points < self._reserve:
                return max(self._reset_at - now, 0.05)
            self._left -= points
            self.spent += points
            return 0

    def learn(self, headers: Mapping[str, str]) -> None:
        """Take over what the server says is left (the smaller figure while other lanes are in flight)."""
        interactions = parse_rate_limit(headers.get("ratelimit", "")).get("fhirInteractions")
        if interactions is None:
            return
        left, seconds = interactions
        with self._lock:
            now = self._clock()
            same_window = now < self._reset_at
            self._left = min(self._left, left) if same_window else left
            self._most = left if self._most == float("inf") else max(self._most, left)
            self._reset_at = now + seconds

    def exhausted(self, seconds: float) -> None:
        """The server refused for want of points: spend nothing for `seconds`."""
        with self._lock:
            self._closed_until = self._clock() + seconds
            self._left, self._reset_at = self._most, 0.0  # what was known of the window is outdated
