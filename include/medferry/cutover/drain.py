"""Bring what was written until a unit was closed to the other side, and know that it is there."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from medferry.errors import LeaseHeld, MedferryError, TransientError
from medferry.manifest.checkpoints import CheckpointState
from medferry.manifest.feeds import FeedKind, FeedName, begin_feed
from medferry.medplum.changes import begin
from medferry.medplum.client import MedplumClient
from medferry.source.changes.cuts import writing
from medferry.source.changes.fences import add_fence, has_passed
from medferry.source.changes.rules import CaptureMethod
from medferry.source.changes.sweep import Throttle
from medferry.source.database import snapshot
from medferry.sync.aside import EntityUnreadable, check_readable
from medferry.sync.cycle import cycle
from medferry.sync.reverse_cycle import BackCycle, back_cycle, returning_types
from medferry.sync.sweeping import sweep_wave
from medferry.sync.wave import SyncedWave

PAUSE_SECONDS = 0.2
"""Between two tries, while another process keeps the wave in step."""

T = TypeVar("T")


class NotDrained(MedferryError):
    """What users write in Medplum does not come to an end, or does not arrive, in the time that there is."""


@dataclass(frozen=True)
class Time:
    """What passes while others are waited for; simulated in tests."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def write_fence(wave: SyncedWave, token: str) -> None:
    """Put a fence behind all that was committed until now."""
    with writing(wave.environment.capture, wave.journal) as connection:
        add_fence(wave.journal, connection, token)


def cut_until(wave: SyncedWave, token: str, still: Callable[[], object], clock: Time) -> int:
    """Take cuts until the fence has arrived, all before it settled; returns the records. `still` raises at the end.

    Entities whose changes no journal has are then swept: what was written of them since the last sweep is in no cut.
    Raises EntityUnreadable where anything waits that cannot be read or is not seen, and as `cycle`.
    """
    records = 0
    while True:
        still()
        records += again(lambda: cycle(wave), still, clock).records
        newest = wave.position()
        with snapshot(wave.environment.source) as view:
            if newest.state == CheckpointState.APPLIED and has_passed(wave.journal, view, newest.position_to, token):
                check_readable(wave)
                if swept := again(lambda: _swept(wave, still), still, clock):
                    records += swept + again(lambda: cycle(wave), still, clock).records  # what waited for these
                    check_readable(wave)
                return records


def _swept(wave: SyncedWave, still: Callable[[], object]) -> int:
    """Bring what differs of entities with `method: sweep`; returns the records. Raises EntityUnreadable, NotDrained."""
    capture = wave.environment.migration.capture
    names = capture.by_method(CaptureMethod.SWEEP) if capture else []
    if not names:
        return 0

    def stopped() -> bool:
        still()
        return False

    found = sweep_wave(wave, Throttle(rows_per_second=math.inf, latency=math.inf, stopped=stopped), names)
    for name, error in found.refused.items():
        raise EntityUnreadable(f"{name} cannot be swept: {error.problem}", error.remedy)
    if any(not one.complete for one in found.entities.values()):
        raise NotDrained("Somebody has stopped the sweep that a freeze ends with.", "Try it again.")
    return found.applied.total()


def start_reverse(wave: SyncedWave, client: MedplumClient, still: Callable[[], object], clock: Time) -> str:
    """Note from where users' writes are read, and read from there once. Returns Medplum's present time.

    What was begun before is earlier, and stays. Raises as `back_cycle`.
    """
    environment = wave.environment
    client.profile()
    client.count("Patient", [("_id", "none")])  # whatever it answers tells its time
    now = client.server_clock.now()
    if not now:
        raise MedferryError("Medplum does not tell its time.", "Let what stands in between pass on its Date header.")
    for kind in returning_types(environment):
        name = FeedName(environment.migration.name, wave.id, kind, FeedKind.POLL)
        with environment.manifest.begin() as connection:
            begin_feed(connection, name, begin(now).text)
    back(wave, client, still, clock)
    return now


def back(wave: SyncedWave, client: MedplumClient, still: Callable[[], object], clock: Time) -> BackCycle:
    """A cycle of the way back, tried again while something transient is in its way."""
    return again(lambda: back_cycle(wave, client), still, clock)


def back_until_quiet(
    wave: SyncedWave, client: MedplumClient, seconds: float, still: Callable[[], object], clock: Time
) -> int:
    """Write back until nothing new has come for so many seconds: longer than any request lasts. Returns the rows."""
    rows, quiet_since = 0, clock.monotonic()
    while True:
        began = clock.monotonic()
        done = back(wave, client, still, clock)
        new = done.written.total() + done.removed.total() + done.born.total()
        rows += new
        if new:
            quiet_since = clock.monotonic()
        elif began - quiet_since >= seconds:
            return rows
        still()
        clock.sleep(min(seconds, max(PAUSE_SECONDS, seconds / 20)))


def again(act: Callable[[], T], still: Callable[[], object], clock: Time) -> T:
    """What an act gives, tried again while others are in its way; `still` raises when it has been long enough."""
    while True:
        try:
            return act()
        except (TransientError, LeaseHeld):
            still()
            clock.sleep(PAUSE_SECONDS)
