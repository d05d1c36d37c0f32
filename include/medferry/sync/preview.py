"""What the next cut would take. Nothing is marked, noted or written."""

from __future__ import annotations

from medferry.source.database import snapshot
from medferry.sync.keys import keys_of_cut
from medferry.sync.waiting import taken_along
from medferry.sync.wave import SyncedWave


def pending_keys(wave: SyncedWave) -> dict[str, int]:
    """Entity → records. Raises NeverSwept, CaptureBroken, PositionLost."""
    last = wave.position()
    with snapshot(wave.environment.source) as view:
        wave.journal.cut(view, last.position_to)  # it raises what a cut would
        waiting = wave.journal.waiting(view, last.position_to)
        keys = keys_of_cut(wave, view, waiting)
    for entity, records in taken_along(wave, keys).items():
        keys[entity] = records | keys.get(entity, {})
    return {entity: len(by_key) for entity, by_key in keys.items()}
