"""A run of a synchronisation as Airflow sees it: the interval that it is for, its tail, what it logs and measures."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from medferry.manifest.checkpoints import Interval
from medferry.sync.cycle import Cycle
from medferry.sync.reverse_cycle import BackCycle
from medferry.workflows.sync import Way, sync_interval, sync_interval_back, sync_wave
from medferry_airflow.metrics import tell_metrics
from medferry_airflow.tasks.environment import environment

log = logging.getLogger(__name__)

MEASURED_EVERY = 15.0
"""Seconds between two times that metrics are sent in a tail."""


def in_step(way: Way, wave: str, start: datetime | None, end: datetime | None, tail_seconds: int) -> dict[str, int]:
    """Synchronise a wave one way, for an interval or (without one) once; returns what was done, counted by name."""
    with _telling(wave) as told:
        if start is None or end is None or start == end:
            sync_wave(environment(), wave, told, way=way)
        else:
            interval, tail = Interval(_text(start), _text(end)), tail_of(start, end, tail_seconds)
            act = sync_interval if way is Way.FORTH else sync_interval_back
            act(environment(), wave, interval, told, tail)
    return dict(told.counts)


@contextmanager
def _telling(wave: str) -> Iterator[_Told]:
    """Who counts and logs; the metrics are sent in the end, too, however it ends."""
    told = _Told(wave)
    try:
        yield told
    finally:
        tell_metrics(environment(), wave)


@dataclass
class _Told:
    """Counts what cycles tell, and logs it: keys, columns and places, never values. Sends the metrics now and then."""

    wave: str
    counts: Counter[str] = field(default_factory=Counter)
    measured: float = field(default_factory=time.monotonic)

    def __call__(self, done: Cycle | BackCycle) -> None:
        self._log(done)
        if time.monotonic() - self.measured >= MEASURED_EVERY:
            tell_metrics(environment(), self.wave)
            self.measured = time.monotonic()

    def _log(self, done: Cycle | BackCycle) -> None:
        if isinstance(done, Cycle):
            for run_id, of_run in done.runs.items():
                log.info("%s: %s", run_id, dict(of_run))
                self.counts.update(of_run)
            return
        if done.written or done.removed or done.held:
            told = (dict(done.written), dict(done.removed), len(done.held))
            log.info("Written back: %s; removed: %s; held back: %d", *told)
        counts = {"written back": done.written, "removed": done.removed}
        self.counts.update({name: of.total() for name, of in counts.items()} | {"held back": len(done.held)})


def _text(time: Any) -> str:
    return datetime.fromtimestamp(time.timestamp(), UTC).isoformat(timespec="seconds")


def tail_of(start: datetime, end: datetime, tail_seconds: int) -> float:
    """Until the next run takes over at most: a run of a past interval has none."""
    takes_over = end + (end - start)
    return max(0.0, min(float(tail_seconds), (takes_over - datetime.now(UTC)).total_seconds()))
