"""Sweep a wave: compare all of its rows with what was applied, apply what the journal has missed, measure the share.

A complete sweep of all entities also says from where in the journal the wave goes on: at its first, and after the
position was lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import sqlalchemy as sa

from medferry.errors import SourceError
from medferry.manifest import checkpoints, sweeps
from medferry.manifest.checkpoints import NewCheckpoint
from medferry.source.changes.cuts import next_cut
from medferry.source.changes.rules import CaptureMethod
from medferry.source.changes.sweep import Sweep, Swept, Throttle
from medferry.source.database import snapshot
from medferry.sync.aside import note_set_aside, waiting_keys
from medferry.sync.carry_out import OPTIONS, Written, begin_run, carry_out, nothing
from medferry.sync.cycle import finish_unfinished, is_unfinished
from medferry.sync.keys import ReadKeys, keys_to_stage
from medferry.sync.rows import AppliedRows, WaveRows, forgotten
from medferry.sync.wave import SyncedWave

Tell = Callable[[Swept], None]

PATIENCE_SECONDS = 60.0
"""How long what was found waits for the cycle that is at work: a tail pauses after each."""


@dataclass(frozen=True, slots=True)
class WaveSwept:
    """What a sweep found in each entity, and its misses by disposition after they were applied.

    `goes_on`: the wave has a position in the journal now. `refused` are entities that cannot be read, and why.
    """

    entities: Mapping[str, Swept]
    applied: Counter[str]
    goes_on: bool
    refused: Mapping[str, SourceError] = field(default_factory=dict)


def sweep_wave(
    wave: SyncedWave, throttle: Throttle, entities: Collection[str] = (), tell: Tell = lambda _: None
) -> WaveSwept:
    """Sweep some entities (none named: all), then apply what was missed. Others may go on meanwhile.

    It ends after a page when it is told to (`sweeps.stop`, the throttle's flag): what was found is applied. Where the
    journal goes on from here, of an entity that cannot be read everything waits until it can.
    Raises SyncBusy, CaptureBroken, SourceUnavailable, and what the stages raise.
    """
    environment = wave.environment
    with next_cut(wave.journal, environment.source, environment.capture, None) as (view, cut):
        start, goes_on = cut.position, _goes_on(wave, view)
    names = [name for name in environment.migration.entities if not entities or name in entities]
    found: dict[str, Swept] = {}
    due: dict[str, set[str]] = {}
    unread = ReadKeys()
    for name in names:
        try:
            found[name], due[name] = _sweep(wave, name, start, goes_on, throttle)
        except SourceError as error:
            unread.refused[name] = error
            unread.waiting.add((name, "", None))
            continue
        tell(found[name])
        if not found[name].complete:
            break
    swept = len(found) + len(unread.refused)
    whole = swept == len(environment.migration.entities) and all(each.complete for each in found.values())
    with wave.alone(PATIENCE_SECONDS):
        finish_unfinished(wave)
        applied = _apply(wave, due, "" if goes_on or not whole else start, unread, whole)
    return WaveSwept(found, applied, wave.newest() is not None, unread.refused)


def _goes_on(wave: SyncedWave, view: sa.Connection) -> bool:
    """Whether the journal reaches back to where the wave goes on."""
    last = wave.newest()
    return last is not None and not wave.journal.lost(view, last.position_to, wave.journal.epoch(view))


def _sweep(wave: SyncedWave, name: str, start: str, goes_on: bool, throttle: Throttle) -> tuple[Swept, set[str]]:
    """What a sweep of one entity found, and the keys that are due: those that were missed, and the forgotten."""
    environment, entity = wave.environment, wave.environment.migration.entities[name]
    with environment.manifest.begin() as connection:
        sweep_id = sweeps.begin(connection, environment.migration.name, wave.id, name)

    def stopped() -> bool:
        with environment.manifest.begin() as connection:
            return throttle.stopped() or sweeps.is_stopped(connection, sweep_id)

    swept = Swept(name)
    due: set[str] = set()
    try:
        swept = Sweep(
            name,
            wave.journal,
            partial(snapshot, environment.source),
            WaveRows(wave, entity),
            AppliedRows(wave, name, start, goes_on),
            replace(throttle, stopped=stopped),
        ).run()
        due = set(swept.missed)
        swept.missed -= forgotten(wave, name, due) | waiting_keys(wave, name)
    finally:
        with environment.manifest.begin() as connection:
            sweeps.end(connection, sweep_id, swept.rows, len(swept.missed), swept.complete)
    return swept, due


def _apply(wave: SyncedWave, due: Mapping[str, set[str]], start: str, unread: ReadKeys, whole: bool) -> Counter[str]:
    """Settle the keys that are due; `start`: where the journal goes on from, if it does not from where it was.

    `whole`: all rows of the wave were compared, those of units that have joined it, too.
    What has become unreadable since it was looked at waits; of `unread` everything, where nothing else tells of it.
    """
    last = wave.newest()
    goes_on, run_id = last is not None and not start, wave.new_run_id()
    units = wave.units if whole or last is None else last.units
    anew = not goes_on or units != (last and last.units)
    with snapshot(wave.environment.source) as view:
        read = keys_to_stage(wave, view, due)
        if whole and anew:
            read.refused |= unread.refused
            read.waiting |= unread.waiting
        keys = read.found
        new = NewCheckpoint(
            wave.environment.migration.name,
            wave.id,
            CaptureMethod.SWEEP,
            last.position_to if last and goes_on else "",
            last.position_to if last and goes_on else start,
            run_id if keys else "",
            sum(map(len, keys.values())),
            units=units,
        )

        def note(connection: sa.Connection) -> None:
            note_set_aside(connection, wave, read, taken=False)
            if new.position_to:
                checkpoints.record(connection, new)

        if keys:
            begin_run(wave, run_id, keys, OPTIONS, view, note)
    unread.refused.update(read.refused)
    if keys:
        return _carried_out(wave, run_id, partial(_applied, wave) if new.position_to else nothing)
    if read.refused or (new.position_to and anew):
        with wave.environment.manifest.begin() as connection:
            note(connection)
    return Counter()


def _carried_out(wave: SyncedWave, run_id: str, at_end: Written) -> Counter[str]:
    """The records of the run, or of that which takes its place where something of it cannot be read any more."""
    try:
        return carry_out(wave, run_id, at_end)
    except SourceError:
        if not is_unfinished(wave):
            raise
        return sum(finish_unfinished(wave).values(), Counter[str]())


def _applied(wave: SyncedWave, connection: sa.Connection) -> None:
    found = checkpoints.unfinished(connection, wave.environment.migration.name, wave.id)
    if found is not None:
        checkpoints.set_applied(connection, found.id)
