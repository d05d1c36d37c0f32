"""Both systems in use: the lag of what changes, and what an empty cycle and a sweep cost."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import httpx
import sqlalchemy as sa

from demo_clinics.living.diary import Diary, Side, quantile
from demo_clinics.living.legacy_users import Ward
from demo_clinics.living.life import Life
from demo_clinics.living.run import quiesce
from demo_clinics.living.systems import CLINIC, Systems, systems
from demo_clinics.living.watch import Watch
from medferry.manifest.feeds import FeedKind, feeds_of
from medferry.medplum.changes import LEAST_OVERLAP_SECONDS
from medferry.source.changes.sweep import Throttle
from medferry.sync.cycle import cycle
from medferry.sync.reverse_cycle import back_cycle
from medferry.sync.sweeping import sweep_wave

CHANGES_PER_SECOND = 50.0
SECONDS = 30.0
PATIENTS = 400
_SEED = 7
EMPTY_CYCLES = 20
_BEGUN = 1.2
"""Acts in the legacy system for one that is committed: some are rolled back, some find their record taken."""
_TAIL_SECONDS = 600.0
_LOOK_SECONDS = 0.1
_A_LITTLE = 10.0
_UNBOUNDED = Throttle(rows_per_second=1e9, latency=60)

Figures = dict[str, Any]


def measure_in_step(
    tell: Callable[[str], None], rate: float = CHANGES_PER_SECOND, seconds: float = SECONDS, patients: int = PATIENTS
) -> Figures:
    """Lag each way at `rate` acts a second, one way after the other, an empty cycle at rest, and a sweep."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-in-step-") as folder,
        systems(Path(folder), _SEED, patients, tell) as found,
    ):
        return measure_found(found, tell, rate, seconds)


def measure_found(
    found: Systems,
    tell: Callable[[str], None],
    rate: float,
    seconds: float,
    cycles: int = EMPTY_CYCLES,
    rest: float = LEAST_OVERLAP_SECONDS,
) -> Figures:
    """The same, in systems that are up and in step. `rest`: seconds without a change before the empty cycles.

    A poll reads again what the two minutes before the newest change have brought: a few changes then move these on.
    """
    tell(f"{rate:g} changes a second in the legacy system for {seconds:g} s")
    forth = _lag(found, Side.LEGACY, rate, seconds)
    tell(f"{rate:g} changes a second in Medplum for {seconds:g} s")
    back = _lag(found, Side.MEDPLUM, rate, seconds)
    tell(f"nothing for {rest:g} s, then a few changes, empty cycles and a sweep")
    time.sleep(rest)
    _live_a_little(found, seconds=min(seconds, _A_LITTLE))
    return {"forth": forth, "back": back, "empty": _empty(found, cycles), "sweep": _sweep(found)}


def _lag(found: Systems, side: Side, rate: float, seconds: float) -> Figures:
    diary, ward = Diary(both_ways=True), Ward.of(found.engine, CLINIC)
    share = 1.0 if side is Side.MEDPLUM else 0.0
    begun = rate * (1.0 if side is Side.MEDPLUM else _BEGUN)
    life = Life(found.engine, found.client, ward, diary, _SEED, begun, share, only_owned=True)
    watch = Watch(found.engine, found.client, CLINIC, diary)
    with found.tailing(_TAIL_SECONDS), watch.looking():
        start = _at_work(found)
        started = time.monotonic()
        life.live(seconds)
        lived = time.monotonic() - started
        quiesce(watch, found.check)
    if life.faults:
        raise life.faults[0]
    found.settle()
    watch.look()
    watch.look_at_all()
    lags = diary.lags[side]
    return {
        "p50_seconds": _rounded(quantile(lags, 0.5)),
        "p99_seconds": _rounded(quantile(lags, 0.99)),
        "start_seconds": round(start, 1),
        "changes_per_second": round(diary.total(side) / lived, 1),
        "values": len(lags),
        "missing": len(diary.pending(side)),
        "undecided": len(found.undecided()),
        "settings": {"rate": rate, "seconds": seconds, "written_in": side},
    }


def _live_a_little(found: Systems, seconds: float) -> None:
    life = Life(found.engine, found.client, Ward.of(found.engine, CLINIC), Diary(both_ways=True), _SEED, 5.0, 0.5)
    life.live(seconds)
    if life.faults:
        raise life.faults[0]
    found.settle()


def _at_work(found: Systems) -> float:
    """Wait until the tail's first cycle has looked at both systems; returns the seconds of its start."""
    begun, before = time.monotonic(), _looked(found)
    while _looked(found) & before:
        found.check()
        time.sleep(_LOOK_SECONDS)
    return time.monotonic() - begun


def _looked(found: Systems) -> set[tuple[str, int]]:
    """Each resource type and how often it was polled."""
    environment = found.wave.environment
    with environment.manifest.begin() as connection:
        feeds = feeds_of(connection, environment.migration.name, found.wave.id)
    return {(one.name.resource_type, one.step) for one in feeds if one.name.kind is FeedKind.POLL}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _empty(found: Systems, cycles: int) -> Figures:
    """Requests to each system, and the time, of a cycle both ways without a change: medians."""
    counts: list[Counter[str]] = []
    times: list[float] = []
    for _ in range(cycles):
        with _counted(found) as asked:
            started = time.perf_counter()
            records = cycle(found.wave).records + back_cycle(found.wave).written.total()
            times.append(1_000 * (time.perf_counter() - started))
        assert not records, "the systems are not at rest"
        counts.append(asked)
    return {
        "requests": {name: int(median(one[name] for one in counts)) for name in ("medplum", "legacy", "manifest")},
        "milliseconds": round(median(times), 1),
        "settings": {"cycles": cycles, "manifest": "SQLite", "source": "embedded PostgreSQL"},
    }


@contextmanager
def _counted(found: Systems) -> Iterator[Counter[str]]:
    """What each system is asked within the context: HTTP requests, SQL statements."""
    asked: Counter[str] = Counter()
    send = httpx.Client.send

    def sent(*arguments: Any, **named: Any) -> httpx.Response:
        asked["medplum"] += 1
        return send(*arguments, **named)

    def executed(name: str) -> Callable[..., None]:
        return lambda *_: asked.update([name])

    environment = found.wave.environment
    listeners = {"legacy": environment.source, "manifest": environment.manifest}
    hooks = {name: executed(name) for name in listeners}
    for name, engine in listeners.items():
        sa.event.listen(engine, "before_cursor_execute", hooks[name])
    try:
        with patch.object(httpx.Client, "send", sent):
            yield asked
    finally:
        for name, engine in listeners.items():
            sa.event.remove(engine, "before_cursor_execute", hooks[name])


def _sweep(found: Systems) -> Figures:
    started = time.monotonic()
    swept = sweep_wave(found.wave, _UNBOUNDED)
    seconds = time.monotonic() - started
    rows = sum(each.rows for each in swept.entities.values())
    return {
        "rows_per_second": round(rows / seconds),
        "rows": rows,
        "missed": sum(len(each.missed) for each in swept.entities.values()),
        "settings": {"throttle": "none"},
    }
