"""Which records are on their way between the two systems now: a verification cannot judge them before they arrive.

Read only. On their way forth are keys in the journal that are in no cut or in one that is not applied; back, writes of
which the end is not known, and changes in Medplum that no cycle has looked at. What is held back is on no way, nor is
what is set aside: both wait for a person.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping

from medferry.errors import MedferryError
from medferry.manifest import checkpoints
from medferry.manifest.feeds import FeedKind, feeds_of
from medferry.manifest.held_back import SOON, held_back_of
from medferry.manifest.runs import slices_of
from medferry.manifest.write_backs import open_write_backs
from medferry.medplum.changes import ChangePosition, next_page
from medferry.medplum.client import MedplumClient
from medferry.plan.questions import wave_ids
from medferry.runtime.environment import Environment
from medferry.source.database import snapshot
from medferry.sync.aside import entities_of
from medferry.sync.keys import keys_of_cut
from medferry.sync.reverse import classify, named_by
from medferry.sync.reverse_births import ours_of
from medferry.sync.reverse_sweep import WALKED
from medferry.sync.wave import SyncedWave

log = logging.getLogger(__name__)

MOST_PAGES = 5
"""Of changes in Medplum that are looked at, for each type: whoever is behind by more verifies another time."""

Moving = Mapping[str, Collection[str]]
"""Entity → source keys."""


def waves_in_step(environment: Environment) -> list[SyncedWave]:
    """The waves that are kept in step: they have a position in the journal."""
    if environment.migration.capture is None:
        return []
    waves = [SyncedWave(environment, wave) for wave in wave_ids(environment.migration.plan)]
    return [wave for wave in waves if wave.newest() is not None]


def records_in_flight(waves: Iterable[SyncedWave], client: MedplumClient) -> dict[str, set[str]]:
    """Entity → source keys. What cannot be looked at is on no way: then each of its differences counts."""
    found: dict[str, set[str]] = {}
    for wave in waves:
        for look in (_forth, _noted, lambda one: unread_edits(one, client)):
            try:
                moving = look(wave)
            except MedferryError as error:
                log.warning("What is on its way in %s is not known: %s", wave.id, error)
                continue
            for entity, keys in moving.items():
                found.setdefault(entity, set()).update(keys)
    return found


def _forth(wave: SyncedWave) -> Moving:
    last, aside = wave.position(), {one.entity for one in entities_of(wave)}
    with snapshot(wave.environment.source) as view:
        found = keys_of_cut(wave, view, wave.journal.waiting(view, last.position_to)).found
    return {entity: keys for entity, keys in found.items() if entity not in aside}


def _noted(wave: SyncedWave) -> Moving:
    """What the manifest knows to be at work."""
    migration, found = wave.environment.migration.name, dict[str, set[str]]()
    with wave.environment.manifest.begin() as connection:
        cut = checkpoints.unfinished(connection, migration, wave.id)
        slices = slices_of(connection, cut.run_id) if cut else []
        noted = [(one.entity, one.key) for one in open_write_backs(connection, migration, wave.id)]
        held = held_back_of(connection, migration, wave.units)
    noted += [(one.entity, one.key) for one in held if one.reason in SOON]
    noted += [(slice_.entity, str(key)) for slice_ in slices for key in slice_.keys or ()]
    for entity, key in noted:
        found.setdefault(entity, set()).add(key)
    return found


def unread_edits(wave: SyncedWave, client: MedplumClient) -> Moving:
    """The records that were changed in Medplum and that no cycle has looked at; 20 points a type."""
    environment, found = wave.environment, dict[str, set[str]]()
    ours = ours_of(environment.migration, births=False)
    with environment.manifest.begin() as connection:
        feeds = [feed for feed in feeds_of(connection, environment.migration.name, wave.id)
                 if feed.name.kind is FeedKind.POLL]  # fmt: skip
    for feed in feeds:
        position, kind = ChangePosition.of(feed.position), feed.name.resource_type
        for _ in range(MOST_PAGES):
            page = next_page(client, kind, position, WALKED)
            changes = classify(environment.manifest, client, ours, kind, page.changes)
            for entity, keys in named_by(changes, environment.migration.inverses).items():
                found.setdefault(entity, set()).update(keys)
            position = page.position
            if not page.more:
                break
    return found
