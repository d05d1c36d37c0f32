"""One cycle: finish what was begun, take the next cut, note it, and settle its keys with the rows as they are then.

A kill at any point leaves a cut that is noted with its keys, or none: the next cycle goes on with the first and takes
the second again. Applying a cut twice writes nothing twice.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import sqlalchemy as sa

from medferry.errors import MedferryError, SourceError
from medferry.manifest import checkpoints, leases
from medferry.manifest.checkpoints import NO_INTERVAL, Checkpoint, CheckpointState, Interval, NewCheckpoint
from medferry.runtime.continuing import NotContinued
from medferry.source.changes.cuts import next_cut
from medferry.source.changes.observe import ages_in_cut
from medferry.source.changes.rules import CaptureMethod
from medferry.source.database import snapshot
from medferry.stages.prepare import continued
from medferry.sync.aside import note_set_aside, refused_now, with_set_aside
from medferry.sync.carry_out import OPTIONS, begin_run, carry_out
from medferry.sync.finish_births import finish_births
from medferry.sync.followers import followers_of, note_followers
from medferry.sync.keys import ByKey, keys_of_cut, keys_of_run
from medferry.sync.reverse_write import finish_write_backs
from medferry.sync.waiting import taken_along
from medferry.sync.wave import SyncedWave

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cycle:
    """What a cycle has done: records of each run by disposition, none for a cut without a key."""

    runs: Mapping[str, Counter[str]] = field(default_factory=dict)

    @property
    def records(self) -> int:
        return sum(counts.total() for counts in self.runs.values())


def cycle(wave: SyncedWave, interval: Interval = NO_INTERVAL) -> Cycle:
    """Bring the wave up to the present; `interval` is that of the scheduled run, if any.

    Raises SyncBusy, NeverSwept, CaptureBroken, PositionLost, LeaseHeld, SourceUnavailable, and what the stages raise.
    """
    with wave.alone():
        done = finish_unfinished(wave)
        try:
            run_id = _take_cut(wave, interval)
        except SourceError:
            if not is_unfinished(wave):
                raise
            return Cycle(done | finish_unfinished(wave))  # the cut is noted: what can be read of it goes on
        return Cycle(done | ({run_id: _apply_newest(wave, run_id)} if run_id else {}))


def scheduled_cycle(wave: SyncedWave, interval: Interval) -> Cycle:
    """What a scheduled run of an interval does, whenever it is run, cleared or backfilled. Raises as `cycle`.

    Position decides, time labels: the first run takes the next cut; a cleared one repeats the cuts that it has made,
    with the rows as they are now; an interval that was passed over has none, its changes were in the next cut.
    """
    migration = wave.environment.migration.name
    with wave.environment.manifest.begin() as connection:
        own = checkpoints.of_interval(connection, migration, wave.id, interval)
        passed_over = checkpoints.any_later(connection, migration, wave.id, interval)
    if own:
        return _repeat(wave, own)
    return Cycle() if passed_over else cycle(wave, interval)


def finish_unfinished(wave: SyncedWave) -> dict[str, Counter[str]]:
    """Go on with the cut that was noted and not applied, if there is one; returns its records by run and disposition.

    To be called by who is alone. Where its run may not go on (a later one has begun in its scope, the mapping is
    another, an entity cannot be read any more), another run takes the same keys. What the way back has written and not
    recorded is recorded first, so that it is not taken for a change of the legacy users'.
    """
    finish_write_backs(wave)
    finish_births(wave)
    with wave.environment.manifest.begin() as connection:
        found = checkpoints.unfinished(connection, wave.environment.migration.name, wave.id)
    if found is None:
        return {}
    try:
        continued(wave.environment, found.run_id, OPTIONS)
    except NotContinued as reason:
        return _taken_anew(wave, found, reason)
    try:
        return {found.run_id: _apply(wave, found.id, found.run_id)}
    except SourceError as reason:
        return _taken_anew(wave, found, reason)


def _taken_anew(wave: SyncedWave, found: Checkpoint, reason: MedferryError) -> dict[str, Counter[str]]:
    """Another run takes the keys of a cut, but for those of entities that cannot be read now: these wait."""
    log.info("The cut of run %s is taken by another run: %s", found.run_id, reason.problem)
    run_id = wave.new_run_id()
    with wave.environment.manifest.begin() as connection:
        leases.release(connection, found.run_id)
    followers = followers_of(wave, found.run_id)
    with snapshot(wave.environment.source) as view:
        read = keys_of_run(wave, view, found.run_id)

        def note(writing: sa.Connection) -> None:
            note_set_aside(writing, wave, read, taken=False)
            note_followers(writing, wave, followers)
            if read.found:
                checkpoints.set_run(writing, found.id, run_id)
            else:
                checkpoints.set_applied(writing, found.id)

        if read.found:
            begin_run(wave, run_id, read.found, OPTIONS, view, note)
    if read.found:
        return {run_id: _apply(wave, found.id, run_id)}
    with wave.environment.manifest.begin() as connection:
        note(connection)
    return {}


def is_unfinished(wave: SyncedWave) -> bool:
    """Whether a cut, or what a sweep has found, was noted and not applied."""
    with wave.environment.manifest.begin() as connection:
        return checkpoints.unfinished(connection, wave.environment.migration.name, wave.id) is not None


def _apply(wave: SyncedWave, checkpoint_id: int, run_id: str) -> Counter[str]:
    return carry_out(wave, run_id, lambda writing: checkpoints.set_applied(writing, checkpoint_id))


def _take_cut(wave: SyncedWave, interval: Interval) -> str:
    """Note the next cut and stage its rows, in one view of the legacy database; the id of its run, "" without a key."""
    environment, last = wave.environment, wave.position()
    run_id, refused = wave.new_run_id(), refused_now(wave)
    with next_cut(wave.journal, environment.source, environment.capture, last.position_to) as (view, cut):
        seen = replace(cut, refused={**refused, **cut.refused})
        read = keys_of_cut(wave, view, with_set_aside(wave, view, seen))
        changed = read.found
        keys: dict[str, ByKey] = dict(changed)
        for entity, waiting in taken_along(wave, changed).items():
            if entity not in read.refused:
                keys[entity] = waiting | keys.get(entity, {})
        new = NewCheckpoint(
            environment.migration.name,
            wave.id,
            CaptureMethod.LOG,
            last.position_to,
            cut.position,
            run_id if keys else "",
            sum(map(len, keys.values())),
            interval,
            ages_in_cut(wave.journal, view, last.position_to, cut.position, changed) if changed else {},
            wave.units,
        )

        def note(writing: sa.Connection) -> None:
            note_set_aside(writing, wave, read)
            checkpoints.record(writing, new)

        if keys:
            begin_run(wave, run_id, keys, OPTIONS, view, note)
            return run_id
    with environment.manifest.begin() as connection:
        note_set_aside(connection, wave, read)
        if last.units == wave.units and interval in (NO_INTERVAL, Interval(last.interval_from, last.interval_to)):
            checkpoints.move_on(connection, last.id, cut.position)
        else:
            checkpoints.record(connection, new)
    return ""


def _apply_newest(wave: SyncedWave, run_id: str) -> Counter[str]:
    return _apply(wave, wave.position().id, run_id)


def _repeat(wave: SyncedWave, cuts: list[Checkpoint]) -> Cycle:
    """Settle the keys of cuts that were made before once more; what was not applied yet is applied once."""
    done: dict[str, Counter[str]] = {}
    with wave.alone():
        done |= finish_unfinished(wave)
        for each in cuts:
            if each.run_id and each.state == CheckpointState.APPLIED:
                run_id = wave.new_run_id()
                with snapshot(wave.environment.source) as view:
                    keys = keys_of_run(wave, view, each.run_id).found
                    if keys:
                        begin_run(wave, run_id, keys, OPTIONS, view)
                if keys:
                    done[run_id] = carry_out(wave, run_id)
    return Cycle(done)
