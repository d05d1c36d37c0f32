"""Keep a wave in step: once, or cut after cut for a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from medferry.errors import LeaseHeld, TransientError
from medferry.manifest.checkpoints import NO_INTERVAL, Interval
from medferry.runtime.environment import Environment
from medferry.runtime.systems import check_systems
from medferry.sync.cycle import Cycle, cycle, scheduled_cycle
from medferry.sync.wave import SyncBusy, SyncedWave, synced_wave
from medferry.workflows.purge import purge_after

PAUSE_SECONDS = 1.5
"""Between two cuts of a tail."""

Tell = Callable[[Cycle], None]


class ScopeBusy(TransientError):
    """A run is at work on units and entities of the cut: it was not taken."""


def sync_wave(environment: Environment, wave_id: str, tell: Tell, tail: float = 0.0) -> None:
    """One cycle, then further ones until `tail` seconds are over; then what was staged goes, by the plan's retention.

    In a tail, what may be over in a moment (a lease of another run, a system that does not answer) is tried again
    until then; at its end, and without one, it is raised. Raises ScopeBusy, and as `synced_wave` and `cycle`.
    """
    _repeated(checked_wave(environment, wave_id), tell, tail, NO_INTERVAL)
    purge_after(environment, f"sync of {wave_id}")


def sync_interval(environment: Environment, wave_id: str, interval: Interval, tell: Tell, tail: float = 0.0) -> None:
    """What a scheduled run does for its interval; its tail belongs to the interval too. Raises as `sync_wave`."""
    wave = checked_wave(environment, wave_id)
    with _told_as_transient():
        tell(scheduled_cycle(wave, interval))
    if tail and wave.position().interval_to == interval.end:  # not a cleared or backfilled one
        _repeated(wave, tell, tail, interval)
    purge_after(environment, f"sync of {wave_id}")


def checked_wave(environment: Environment, wave_id: str) -> SyncedWave:
    """The wave, once it is known that its systems are those of the manifest."""
    wave = synced_wave(environment, wave_id)
    check_systems(environment, dry=False)
    return wave


def _repeated(wave: SyncedWave, tell: Tell, tail: float, interval: Interval) -> None:
    until = time.monotonic() + tail - PAUSE_SECONDS
    while True:
        try:
            with _told_as_transient():
                tell(cycle(wave, interval))
        except TransientError as error:
            if isinstance(error, SyncBusy) or time.monotonic() >= until:
                raise
        if time.monotonic() >= until:
            return
        time.sleep(PAUSE_SECONDS)


@contextmanager
def _told_as_transient() -> Iterator[None]:
    """A lease that another run holds is given back in the end: the same cut is to be tried again."""
    try:
        yield
    except LeaseHeld as held:
        raise ScopeBusy(held.problem, "Wait until it has finished: the cut was not taken.") from None
