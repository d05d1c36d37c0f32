"""Looks at both systems while the clinic lives, and tells the diary what has arrived: so the lag is measured."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx
import sqlalchemy as sa

from demo_clinics.living.diary import Diary, Side
from demo_clinics.living.facts import READINGS, Record, of_legacy, of_medplum, of_resource, resources_of

LOOK_SECONDS = 0.5
_OVERLAP_SECONDS = 2.0


@dataclass(slots=True)
class Watch:
    """What Medplum shows is dated by its own `lastUpdated`, what the legacy system shows by the moment of the look."""

    engine: sa.Engine
    client: httpx.Client
    clinic: str
    diary: Diary
    born: Callable[[Record], object] = lambda _: None
    """Is told of a record that was created in Medplum, once it has a row."""
    _since: dict[str, float] = field(default_factory=dict)

    def look(self) -> None:
        """Once at both sides."""
        if self.diary.pending(Side.LEGACY) or self.diary.unborn:
            for resource_type in {reading.type for reading in READINGS.values()}:
                self._look_at_medplum(resource_type)
        wanted: dict[str, set[str]] = defaultdict(set)
        for entity, key, _ in self.diary.pending(Side.MEDPLUM):
            wanted[entity].add(key)
        with self.engine.connect() as connection:
            for entity, keys in wanted.items():
                for record, facts in of_legacy(connection, self.clinic, entity, keys).items():
                    now = time.time()
                    self.diary.saw(record, facts, Side.LEGACY, now, now)

    def _look_at_medplum(self, resource_type: str) -> None:
        since = self._since.setdefault(resource_type, time.time() - _OVERLAP_SECONDS)
        bound = datetime.fromtimestamp(since - _OVERLAP_SECONDS, UTC).isoformat(timespec="milliseconds")
        for resource in resources_of(self.client, resource_type, _lastUpdated=f"ge{bound}"):
            at = datetime.fromisoformat(resource["meta"]["lastUpdated"]).timestamp()
            self._since[resource_type] = max(self._since[resource_type], at)
            if found := of_resource(resource):
                if self.diary.saw_born(resource["id"], found[0]):
                    self.born(found[0])
                self.diary.saw(found[0], found[1], Side.MEDPLUM, at, time.time())

    def look_at_all(self) -> None:
        """Read everything in both systems: for when they are to be at rest."""
        for record, facts in of_medplum(self.client).items():
            self.diary.found_the_same(record, facts, Side.MEDPLUM)
        with self.engine.connect() as connection:
            for entity in READINGS:
                for record, facts in of_legacy(connection, self.clinic, entity).items():
                    self.diary.found_the_same(record, facts, Side.LEGACY)

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Look again and again until the end of the context. What failed is raised there."""
        stop = threading.Event()

        def go_on() -> None:
            while not stop.wait(LOOK_SECONDS):
                self.look()

        with ThreadPoolExecutor(1) as pool:
            looks = pool.submit(go_on)
            try:
                yield
            finally:
                stop.set()
            looks.result()
