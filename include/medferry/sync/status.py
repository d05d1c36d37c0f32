"""How far a wave is in step: pending, lag, heartbeat, misses, old transactions, writers, the way back. Reads only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from medferry.manifest import checkpoints, sweeps
from medferry.manifest.checkpoints import Checkpoint
from medferry.manifest.clock import seconds_between
from medferry.manifest.conflicts import open_conflicts
from medferry.manifest.feeds import FeedKind, feeds_of
from medferry.manifest.held_back import HeldBack, held_back_of
from medferry.manifest.set_aside import EntitySetAside, entities_set_aside
from medferry.manifest.sweeps import SweepRow
from medferry.manifest.waiting import waiting_records
from medferry.source.changes.journal import CaptureBroken
from medferry.source.changes.observe import (
    Ages,
    Writer,
    ages_behind,
    census,
    heartbeat_seconds,
    is_installed,
    oldest_transaction_seconds,
)
from medferry.source.database import snapshot
from medferry.source.shown_keys import shown_key
from medferry.sync.keys import keys_of_cut
from medferry.sync.wave import SyncedWave

RECENT = 500
"""Cuts with a key of which the lag is told."""


@dataclass(frozen=True, slots=True)
class EntityStatus:
    """`pending` changes of the wave are in the journal and in no cut; `waiting` records wait for others.

    Lag in seconds, from the change in the legacy database until it was settled; None: nothing was settled yet.
    """

    entity: str
    pending: int
    oldest: int
    waiting: int
    lag_p50: float | None
    lag_p99: float | None
    swept_at: str
    miss_rate: float | None


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """How far the changes of a resource type in Medplum were read. Times are UTC; empty: never."""

    resource_type: str
    looked_at: str
    swept_at: str
    """When every resource that the crosswalk has was last looked for."""
    lag_p50: float | None
    lag_p99: float | None
    """Seconds from an edit in Medplum until its row was written, by Medplum's clock; None: none was yet."""


@dataclass(frozen=True, slots=True)
class WaveStatus:
    """`fault` says what is wrong with the capture: no cut can be made, or entities are set aside by it; empty: nothing.

    `conflicts` wait for people. `held_back` is what users did in Medplum and the legacy database does not have;
    `set_aside` are entities that cannot be read, whose changes wait.
    """

    wave: str
    state: str
    cut_at: str
    heartbeat_seconds: int | None
    oldest_transaction_seconds: int | None
    fault: str
    conflicts: int
    entities: list[EntityStatus]
    writers: list[Writer]
    feeds: list[FeedStatus]
    held_back: list[HeldBack]
    set_aside: list[EntitySetAside]

    def as_json(self) -> dict[str, Any]:
        """With source keys as they may be shown."""
        keys = [one.key if one.is_birth else shown_key(one.entity, one.key) for one in self.held_back]
        held = [{**asdict(one), "key": key} for one, key in zip(self.held_back, keys, strict=True)]
        return {**asdict(self), "held_back": held}


def status_of(wave: SyncedWave) -> WaveStatus:
    """Raises SourceUnavailable, SourceError."""
    migration, newest = wave.environment.migration, wave.newest()
    with wave.environment.manifest.begin() as connection:
        recent = checkpoints.recent(connection, migration.name, wave.id, RECENT)
        back = _feeds(connection, migration.name, wave.id)
        held = held_back_of(connection, migration.name, wave.units)
        aside = entities_set_aside(connection, migration.name, wave.id)
        swept = sweeps.newest_sweeps(connection, migration.name, wave.id)
        conflicts = len(open_conflicts(connection, migration.name, wave.id))
        waiting = waiting_records(connection, migration.name, migration.entities, wave.units)
    with snapshot(wave.environment.source) as view:
        there = is_installed(view)
        lost = wave.journal.lost(view, newest.position_to, wave.journal.epoch(view)) if newest and there else ""
        fault = _fault(wave, view, newest, lost)
        ages = _pending(wave, view, newest.position_to) if newest and there and not lost else {}
        heartbeat = heartbeat_seconds(wave.journal, view) if there else None
        oldest = oldest_transaction_seconds(wave.journal, view)
        writers = census(view) if there else []
    lags = lags_of(recent)
    entities = [
        _entity(name, ages.get(name, {}), len(waiting.get(name, ())), lags.get(name, Counter()), swept.get(name))
        for level in migration.levels
        for name in level
    ]
    state = newest.state if newest else ""
    cut_at = newest.cut_at if newest else ""
    return WaveStatus(wave.id, state, cut_at, heartbeat, oldest, fault, conflicts, entities, writers, back, held, aside)


def _pending(wave: SyncedWave, view: sa.Connection, position: str) -> Ages:
    """Of the wave's own changes that are in no cut yet."""
    own = keys_of_cut(wave, view, wave.journal.waiting(view, position)).found
    return ages_behind(wave.journal, view, position, own)


def pending_records(wave: SyncedWave) -> int:
    """The wave's own records with changes in no cut: fewer than the changes, where one has changed again.

    Raises SourceUnavailable, SourceError, CaptureBroken.
    """
    newest = wave.newest()
    if newest is None:
        return 0
    with snapshot(wave.environment.source) as view:
        found = keys_of_cut(wave, view, wave.journal.waiting(view, newest.position_to)).found
    return sum(map(len, found.values()))


def _feeds(connection: sa.Connection, migration: str, wave: str) -> list[FeedStatus]:
    looked, lags = dict[str, dict[FeedKind, str]](), dict[str, Counter[float]]()
    for feed in feeds_of(connection, migration, wave):
        lags.setdefault(feed.name.resource_type, Counter()).update(feed.lags)
        of_type = looked.setdefault(feed.name.resource_type, {})
        of_type[feed.name.kind] = feed.moved_at if feed.name.kind is FeedKind.POLL else feed.passed_at or ""
    return [
        FeedStatus(
            kind,
            at.get(FeedKind.POLL, ""),
            at.get(FeedKind.SWEEP, ""),
            quantile(lags[kind], 0.5),
            quantile(lags[kind], 0.99),
        )
        for kind, at in sorted(looked.items())
    ]


def _fault(wave: SyncedWave, view: sa.Connection, newest: Checkpoint | None, lost: str) -> str:
    if newest is None:
        return f"No position yet: run `medferry sweep {wave.id}`."
    try:
        wave.journal.check(view)
    except CaptureBroken as broken:
        return broken.problem
    if joined := wave.joined(newest):
        return f"{', '.join(joined[:5])} joined the wave: run `medferry sweep {wave.id}`."
    return f"The position is lost ({lost}): run `medferry sweep {wave.id}`." if lost else ""


def _entity(
    name: str, ages: Mapping[str, int], waiting: int, lags: Counter[float], swept: SweepRow | None
) -> EntityStatus:
    return EntityStatus(
        name,
        sum(ages.values()),
        max(map(int, ages), default=0),
        waiting,
        quantile(lags, 0.5),
        quantile(lags, 0.99),
        swept.finished_at or "" if swept else "",
        swept.miss_rate if swept else None,
    )


def lags_of(cuts: Iterable[Checkpoint]) -> dict[str, Counter[float]]:
    """Entity → seconds from a change until its cut was applied → changes."""
    found: dict[str, Counter[float]] = {}
    for cut in cuts:
        applying = seconds_between(cut.cut_at, cut.applied_at) if cut.applied_at else 0.0
        for entity, ages in cut.ages.items():
            of_entity = found.setdefault(entity, Counter())
            for age, changes in ages.items():
                of_entity[int(age) + applying] += changes
    return found


def quantile(values: Counter[float], share: float) -> float | None:
    """The smallest value that at least so large a share of all does not exceed."""
    wanted, seen = share * values.total(), 0
    for value in sorted(values):
        seen += values[value]
        if seen >= wanted:
            return round(value, 1)
    return None
