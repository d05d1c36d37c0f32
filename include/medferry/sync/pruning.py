"""Take out of the journal what every wave that is kept in step has taken. The census forgets it, too."""

from __future__ import annotations

import sqlalchemy as sa

from medferry.manifest import checkpoints
from medferry.manifest.checkpoints import CheckpointState
from medferry.plan.questions import wave_ids
from medferry.runtime.environment import Environment
from medferry.source.changes.cuts import writing
from medferry.source.changes.journal import CHANGE, Journal
from medferry.source.changes.positions import anchor_of, place_of
from medferry.source.database import snapshot
from medferry.sync.wave import SyncedWave

DAY_SECONDS = 86_400


def prune(environment: Environment, older_than_days: int) -> int:
    """Delete the changes that are so many days old and in the cuts of all waves; returns how many.

    The newest row at each wave's position stays: by it is told whether others have emptied the journal. A wave that
    never began, or lost its position, is to be swept: it needs none of them. Where no wave goes on,
    nothing is deleted. Raises NoCapture, CaptureBroken, SourceUnavailable.
    """
    waves = [SyncedWave(environment, wave) for wave in wave_ids(environment.migration.plan)]
    journal = waves[0].journal
    positions = _positions(waves, journal)
    if not positions:
        return 0
    terms, values = [f"{journal.age} > {older_than_days * DAY_SECONDS}"], dict[str, object]()
    for number, position in enumerate(positions):
        condition, bound = journal.behind(place_of(position))
        for name, value in bound.items():
            condition = condition.replace(f":{name}", f":{name}_{number}")
            values[f"{name}_{number}"] = value
        terms.append(f"NOT ({condition})")
    if anchors := {anchor[0] for position in positions if (anchor := anchor_of(position)) is not None}:
        terms.append(f"id NOT IN ({', '.join(map(str, sorted(anchors)))})")
    with writing(environment.capture, journal) as connection:
        return connection.execute(sa.text(f"DELETE FROM {CHANGE} WHERE {' AND '.join(terms)}"), values).rowcount


def _positions(waves: list[SyncedWave], journal: Journal) -> set[str]:
    """Where each wave goes on; while its last cut is not applied, where that began: a sweep looks from there."""
    environment = waves[0].environment
    with environment.manifest.begin() as connection:
        newest = [checkpoints.newest(connection, environment.migration.name, wave.id) for wave in waves]
    starts = {
        each.position_to if each.state == CheckpointState.APPLIED else each.position_from for each in newest if each
    }
    with snapshot(environment.source) as view:
        epoch = journal.epoch(view)
        return {position for position in starts if not journal.lost(view, position, epoch)}
