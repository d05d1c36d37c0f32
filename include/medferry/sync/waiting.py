"""What waited is taken along: as soon as what it waits for may have come, and now and then besides.

So is a record of which a conflict was decided: what people decided is done by the next cycle.
"""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from medferry.manifest.conflict_decisions import undone_records
from medferry.manifest.waiting import BRIEFLY, MAY_BE_OVER, WaitingRecord, ago, loaded_since, waiting_records
from medferry.sync.keys import ByKey
from medferry.sync.wave import SyncedWave

SOON, NOW_AND_THEN = 30.0, 3_600.0
"""Seconds after which a record is tried again: when another run had it, or for no reason at all."""


def taken_along(wave: SyncedWave, changed: Collection[str]) -> dict[str, ByKey]:
    """Entity → the waiting records that go with a cut; `changed` are the entities of the cut's own keys.

    All of an entity or none: each try is an event for those that refer to it. What a person is to decide about is
    looked at now and then, too: who has changed or deleted a resource may have taken it back.
    """
    migration, found = wave.environment.migration, dict[str, ByKey]()
    entities = [entity for level in migration.levels for entity in level]
    with wave.environment.manifest.begin() as connection:
        before = ago(connection, NOW_AND_THEN)
        decided = undone_records(connection, migration.name, wave.units, before)
        waiting = waiting_records(connection, migration.name, entities, wave.units)
        standing = waiting_records(connection, migration.name, entities, wave.units, MAY_BE_OVER)
        for entity in entities:
            due = {key: {unit} for key, unit in decided.get(entity, {}).items()}
            due |= {one.key: {one.unit} for one in standing.get(entity, ()) if one.decided_at < before}
            if due:
                found[entity] = due
            records, wanted = waiting.get(entity, []), {*migration.specs[entity].references}
            if records and (wanted & {*changed, *found} or _is_due(connection, migration.name, records, wanted)):
                found.setdefault(entity, {}).update({one.key: {one.unit} for one in records})
    return found


def _is_due(connection: sa.Connection, migration: str, records: list[WaitingRecord], wanted: set[str]) -> bool:
    """Whether the one that has waited longest has done so long enough, or a load has ended since that may help."""
    since = min(record.decided_at for record in records)
    if since < ago(connection, NOW_AND_THEN):
        return True
    brief = any(record.reason in BRIEFLY for record in records)
    if brief and since < ago(connection, SOON):
        return True
    return bool(loaded_since(connection, migration, since) & wanted)
