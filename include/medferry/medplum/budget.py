"""The points budget: never send what the quota cannot pay for.

Medplum tells the units left and the seconds to their reset in the header
``RateLimit: "requests";r=59997;t=59, "fhirInteractions";r=49879;t=59``. Costs: docs/medplum.md, "Quota".
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Mapping

from medferry.errors import MedferryError
from medferry.medplum.form import LONGEST_WAIT_SECONDS

log = logging.getLogger(__name__)

READ, SEARCH, WRITE = 1, 20, 100
CONDITIONAL_WRITE = 120
"""A conditional create or update by a request of its own, at its dearest."""
CONDITIONAL_WRITE_IN_BATCH = 140
"""A conditional create or update inside a batch, at its dearest (a new resource)."""

_WINDOW_SECONDS = 60.0
_BEGINNINGS = 3
"""So many windows must show at their beginning that they hold too little, before they are believed: in a few,
others of the same client may have been first."""

_LIMIT = re.compile(r'"(?P<name>\w+)"\s*;\s*r=(?P<left>\d{1,12})\s*;\s*t=(?P<seconds>\d{1,12})')


def parse_rate_limit(header: str) -> dict[str, tuple[int, int]]:
    """Limit name → (units left, seconds to reset)."""
    return {m["name"]: (int(m["left"]), int(m["seconds"])) for m in _LIMIT.finditer(header)}


class QuotaTooSmall(MedferryError):
    """No minute of the quota can ever pay for what is to be sent, besides the reserve."""

    def __init__(self, points: int, reserve: int, most: float) -> None:
        kept = f" and {reserve:,} are to be left for live users" if reserve else ""
        super().__init__(
            f"A request costs {points:,} points{kept}, and Medplum's quota is about {most:,.0f} points a minute.",
            "Choose a smaller --batch-size (a write costs 100 points, a conditional create 140) or fewer "
            "--reserve-points, or raise the client's quota (docs/quota.md).",
        )


class Budget:
    """Shared by all lanes of a task. `reserve` points are left for the live users of the same client.

    The server tells what is left, never what a whole window holds: that is the most that was ever left in one. Before a
    window is given up as too small, its beginning is looked at: `look` sends the smallest request there is and lets
    `learn` have its headers.
    """

    def __init__(
        self,
        reserve: int = 0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.look: Callable[[], None] = lambda: None
        self._reserve = reserve
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._looking = threading.Lock()
        self._left = self._most = float("inf")
        self._reset_at = 0.0
        self._closed_until = 0.0
        self._told = True
        """Whether the server has said what is left in the present window."""
        self._paid = 0
        """In the present window, by us."""
        self._beginnings = 0
        """Windows whose beginning was looked at."""
        self.spent = 0

    def pay(self, points: int) -> None:
        """Wait until `points` can be spent above the reserve, and count them as spent.

        Raises QuotaTooSmall when no window can pay for them, and whatever `look` raises.
        """
        while (seconds := self._try(points)) != 0:
            if seconds is None:
                self._look_at_beginning(points)
            else:
                self._sleep(seconds)

    def _try(self, points: int) -> float | None:
        """Spend and return 0, or the seconds to wait; None where a new window must be looked at first."""
        with self._lock:
            now = self._clock()
            if now < self._closed_until:
                return self._closed_until - now
            if now >= self._reset_at:
                if self._needs(points) > self._most:
                    return None
                self._begin(now)  # a new minute holds at least what was left in one before
            if self._left - points < self._reserve:
                if self._beginnings >= _BEGINNINGS and self._needs(points) > self._most:
                    raise QuotaTooSmall(points, self._reserve, self._most)
                return max(self._reset_at - now, 0.05)
            self._spend(points)
            return 0

    @property
    def left(self) -> float | None:
        """Points above the reserve as far as is known; None: no quota is known."""
        with self._lock:
            return None if self._left == float("inf") else max(self._left - self._reserve, 0.0)

    def _needs(self, points: int) -> int:
        return points + self._reserve

    def _spend(self, points: int) -> None:
        self._left -= points
        self._paid += points
        self.spent += points

    def _begin(self, now: float) -> None:
        self._left, self._paid, self._told = self._most, 0, False
        self._reset_at = now + _WINDOW_SECONDS  # until the next answer tells it

    def _look_at_beginning(self, points: int) -> None:
        """Have the server tell what the new window holds; one lane asks, the others go by its answer."""
        with self._looking:
            with self._lock:
                if self._clock() < self._reset_at:
                    return  # another lane has asked meanwhile
                self._begin(self._clock())
                self._spend(READ)
            try:
                self.look()
            except BaseException:
                with self._lock:
                    self._reset_at = 0.0  # whoever pays next looks again
                raise
            with self._lock:
                if not self._told:
                    self._left = self._most = float("inf")  # a server that tells nothing has no quota to keep to
                    return
                self._beginnings += 1
                if self._needs(points) > self._most and self._beginnings < _BEGINNINGS:
                    problem = QuotaTooSmall(points, self._reserve, self._most)
                    log.warning("%s Unless one of the next windows holds more, the load ends.", problem)

    def learn(self, headers: Mapping[str, str]) -> None:
        """Take over what the server says is left (the smaller figure while other lanes are in flight)."""
        interactions = parse_rate_limit(headers.get("ratelimit", "")).get("fhirInteractions")
        if interactions is None:
            return
        left, seconds = interactions
        with self._lock:
            now = self._clock()
            if now >= self._reset_at:
                self._left = left
            elif self._told:
                self._left = min(self._left, left)
            else:  # what the window holds was a guess; what is paid may not be counted there yet
                guess = 0 if self._most == float("inf") else self._left
                self._left = max(guess, left - self._paid)
            self._told = True
            self._most = left if self._most == float("inf") else max(self._most, left)
            self._reset_at = now + min(seconds, LONGEST_WAIT_SECONDS)

    def exhausted(self, seconds: float) -> None:
        """The server refused for want of points: spend nothing for `seconds`."""
        with self._lock:
            self._closed_until = self._clock() + seconds
            self._left, self._reset_at = self._most, 0.0  # what was known of the window is outdated
