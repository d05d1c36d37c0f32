"""Keep a wave in step, one way or both: once, or cycle after cycle for a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from enum import StrEnum

from medferry.errors import LeaseHeld, TransientError
from medferry.manifest.checkpoints import NO_INTERVAL, Interval
from medferry.runtime.environment import Environment
from medferry.runtime.legacy_home import check_legacy
from medferry.runtime.systems import check_medplum, check_systems
from medferry.sync.aside import check_readable
from medferry.sync.cycle import Cycle, cycle, scheduled_cycle
from medferry.sync.reverse_cycle import BackCycle, back_cycle
from medferry.sync.wave import SyncBusy, SyncedWave, synced_wave
from medferry.workflows.purge import purge_after

CUT_SECONDS = 1.5
"""From the beginning of a tail's cut to that of the next, where its cycle is over by then."""

PAUSE_SECONDS = 0.5
"""Between two cycles at least: another process, as a sweep, may be waiting for the wave."""

Tell = Callable[[Cycle | BackCycle], None]


class Way(StrEnum):
    """From where to where changes go."""

    FORTH = "forward"
    """From the legacy database to Medplum."""
    BACK = "reverse"
    BOTH = "both"
    """Forth, then back."""


class ScopeBusy(TransientError):
    """A run is at work on units and entities of the cut: it was not taken."""


def sync_wave(environment: Environment, wave_id: str, tell: Tell, tail: float = 0.0, way: Way | None = None) -> None:
    """One cycle, then further ones until `tail` seconds are over; then what was staged goes, by the plan's retention.

    Without a `way`, both where the plan says so of the wave.

    In a tail, what may be over in a moment (a lease of another run, a system that does not answer) is tried again
    until then; at its end, and without one, it is raised. Raises ScopeBusy, EntityUnreadable when all else is done, and
    as `synced_wave`, `cycle` and `back_cycle`.
    """
    wave = checked_wave(environment, wave_id)
    way = way or planned_way(wave)
    _repeated(wave, tell, tail, NO_INTERVAL, way)
    purge_after(environment, f"sync of {wave_id}")
    if way is not Way.BACK:
        check_readable(wave)


def sync_interval(environment: Environment, wave_id: str, interval: Interval, tell: Tell, tail: float = 0.0) -> None:
    """What a scheduled run does for its interval, forth; its tail belongs to the interval too. Raises as `sync_wave`.

    Of a wave that is written back the tail is that of `sync_interval_back`, which follows.
    """
    wave = checked_wave(environment, wave_id)
    with _told_as_transient():
        tell(scheduled_cycle(wave, interval))
    if tail and planned_way(wave) is Way.FORTH and _is_newest(wave, interval):
        _repeated(wave, tell, tail, interval, Way.FORTH)
    purge_after(environment, f"sync of {wave_id}")
    if planned_way(wave) is Way.FORTH:  # else the way back, which is not to wait for a mended entity, tells it
        check_readable(wave)


def sync_interval_back(
    environment: Environment, wave_id: str, interval: Interval, tell: Tell, tail: float = 0.0
) -> None:
    """What a scheduled run does back, when it has gone forth; in its tail it goes both ways. Raises as `sync_wave`."""
    wave = checked_wave(environment, wave_id)
    with _told_as_transient():
        tell(back_cycle(wave))
    if tail and _is_newest(wave, interval):
        _repeated(wave, tell, tail, interval, Way.BOTH)
    purge_after(environment, f"sync of {wave_id}")
    check_readable(wave)


def planned_way(wave: SyncedWave) -> Way:
    """What the plan says of a wave: forth alone, or both ways; both where any unit of it is in Medplum."""
    if wave.through:
        return Way.BOTH
    plan = wave.environment.migration.plan
    sync = plan.wave(wave.id).sync if plan.waves else None
    return Way.BOTH if sync is not None and sync.reverse else Way.FORTH


def _is_newest(wave: SyncedWave, interval: Interval) -> bool:
    """Whether it is no cleared or backfilled one."""
    return wave.position().interval_to == interval.end


def checked_wave(environment: Environment, wave_id: str) -> SyncedWave:
    """The wave, once it is known that its systems are those of the manifest."""
    wave = synced_wave(environment, wave_id)
    check_systems(environment, dry=False)
    return wave


def wave_to_open(environment: Environment, wave_id: str) -> SyncedWave:
    """To open what is closed needs its two systems and nothing else, neither staged files nor the identifiers' claim.

    Raises OtherSystem, SourceUnavailable, MedplumUnavailable, Unauthorised.
    """
    check_legacy(environment)
    with environment.medplum() as client:
        check_medplum(environment, client)
    return synced_wave(environment, wave_id)


def _repeated(wave: SyncedWave, tell: Tell, tail: float, interval: Interval, way: Way) -> None:
    until = time.monotonic() + tail - CUT_SECONDS
    with nullcontext() if way is Way.FORTH else wave.environment.medplum() as client:
        while True:
            begun = time.monotonic()
            try:
                with _told_as_transient():
                    if way is not Way.BACK:
                        tell(cycle(wave, interval))
                    if way is not Way.FORTH:
                        tell(back_cycle(wave, client))
            except TransientError as error:
                if isinstance(error, SyncBusy) or time.monotonic() >= until:
                    raise
            if time.monotonic() >= until:
                return
            time.sleep(max(PAUSE_SECONDS, begun + CUT_SECONDS - time.monotonic()))


@contextmanager
def _told_as_transient() -> Iterator[None]:
    """A lease that another run holds is given back in the end: the same cut is to be tried again."""
    try:
        yield
    except LeaseHeld as held:
        raise ScopeBusy(held.problem, "Wait until it has finished: the cut was not taken.") from None
