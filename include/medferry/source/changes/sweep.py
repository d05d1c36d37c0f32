"""The sweep: read every row of an entity again, page by page, and find what the journal has missed.

It is the truth that capture is measured by. A row is a miss when it differs from what was applied, no change of it
waits in the journal, and a second look says the same. Keys and digests are all it handles.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import sqlalchemy as sa

from medferry.source.changes.journal import Journal

Digests = Mapping[str, str]
"""Source key → digest of the row."""


class Rows(Protocol):
    """Reads an entity's rows as keys and digests."""

    def page(self, connection: sa.Connection, after: Any) -> tuple[Digests, Any]:
        """The next rows in key order, and where they end: to be given as `after`, None behind the last."""

    def read(self, connection: sa.Connection, keys: Collection[str]) -> Digests:
        """The rows of these keys that are there."""


class Applied(Protocol):
    """What has been applied so far, by whoever applies the cuts."""

    def position(self) -> str:
        """Of the last cut that was applied."""

    def digests(self, keys: Collection[str]) -> Digests:
        """Of the rows as they were applied; keys that are unknown are left out."""

    def keys(self) -> Collection[str]:
        """All keys that are known."""


@dataclass(frozen=True, slots=True)
class Throttle:
    """How much of the legacy database the sweep may take: its users come first.

    It waits as long as a page took over `latency` seconds besides what `rows_per_second` demands.
    """

    rows_per_second: float
    latency: float
    stopped: Callable[[], bool] = field(default=lambda: False)
    clock: Callable[[], float] = field(default=time.monotonic)
    sleep: Callable[[float], None] = field(default=time.sleep)

    def pause(self, rows: int, took: float) -> None:
        """Wait after a page of so many rows that took so many seconds."""
        wanted = rows / self.rows_per_second - took
        self.sleep(max(0.0, wanted) + max(0.0, took - self.latency))


@dataclass(slots=True)
class Swept:
    """What a sweep of an entity found. `complete` is False after a stop."""

    entity: str
    rows: int = 0
    missed: set[str] = field(default_factory=set)
    complete: bool = False

    @property
    def miss_rate(self) -> float:
        """Missed rows among those looked at."""
        return len(self.missed) / self.rows if self.rows else float(bool(self.missed))


@dataclass(frozen=True)
class Sweep:
    """A sweep of one entity. `snapshot` opens a consistent view of the legacy database."""

    entity: str
    journal: Journal
    snapshot: Callable[[], AbstractContextManager[sa.Connection]]
    rows: Rows
    applied: Applied
    throttle: Throttle

    def run(self) -> Swept:
        """Look at every row once. Raises CaptureBroken, SourceUnavailable, SourceError."""
        swept = Swept(self.entity)
        seen: set[str] = set()
        for digests in self._pages():
            swept.rows += len(digests)
            seen.update(digests)
            known = self.applied.digests(digests.keys())
            swept.missed |= self._confirmed({key for key, digest in digests.items() if known.get(key) != digest})
            if self.throttle.stopped():
                return swept
        # A key that came behind the page that was to hold it is there at the second look.
        swept.missed |= self._confirmed(set(self.applied.keys()) - seen)
        swept.complete = True
        return swept

    def _pages(self) -> Iterator[Digests]:
        after = None
        while True:
            began = self.throttle.clock()
            with self.snapshot() as connection:
                digests, after = self.rows.page(connection, after)
            yield digests
            if after is None:
                return
            self.throttle.pause(len(digests), self.throttle.clock() - began)

    def _confirmed(self, suspects: Collection[str]) -> set[str]:
        """Those that still differ, with no change of them waiting in the journal.

        What was applied is read before the snapshot: what was committed since then is in the journal after the
        position, so nothing that is merely on its way is called a miss.
        """
        if not suspects:
            return set()
        position = self.applied.position()
        known = self.applied.digests(suspects)
        with self.snapshot() as connection:
            there = self.rows.read(connection, suspects)
            waiting = self.journal.waiting(connection, position)
        if self.entity in waiting.whole:
            return set()
        on_their_way = set(waiting.keys.get(self.entity, ()))
        return {key for key in suspects if there.get(key) != known.get(key)} - on_their_way
