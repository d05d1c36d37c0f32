"""What the next cut would take. Nothing is marked, noted or written."""

from __future__ import annotations

from dataclasses import replace

from medferry.source.database import snapshot
from medferry.sync.aside import with_set_aside
from medferry.sync.keys import keys_of_cut
from medferry.sync.waiting import taken_along
from medferry.sync.wave import SyncedWave


def pending_keys(wave: SyncedWave) -> dict[str, int]:
    """Entity → records; none of an entity that cannot be read. Raises NeverSwept, CaptureBroken, PositionLost."""
    last = wave.position()
    with snapshot(wave.environment.source) as view:
        cut = wave.journal.cut(view, last.position_to)  # it raises what a cut would
        waiting = wave.journal.waiting(view, last.position_to)
        logged, refused = cut.logged | waiting.logged, {**waiting.refused, **cut.refused}
        waiting = replace(wave.journal.resolved(view, cut.position, logged), refused=refused)
        keys = keys_of_cut(wave, view, with_set_aside(wave, view, waiting)).found
    for entity, records in taken_along(wave, keys).items():
        keys[entity] = records | keys.get(entity, {})
    return {entity: len(by_key) for entity, by_key in keys.items()}
