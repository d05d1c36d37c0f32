"""An entity that cannot be read at present (a right, another schema, a refused query) stops nobody but itself. So does
one whose changes go by the journal (a trigger is missing or off): all of it is read when that is mended.

Its changes wait in the manifest, noted in the transaction that moves the wave's position past them; each cycle tries it
again, and takes them along when it can be read. Each cycle looks at all entities, so that it shows before a change of
them comes, in a freeze perhaps; where nothing has changed, everything of it waits: what the rows were meanwhile nobody
has seen.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import sqlalchemy as sa

from medferry.errors import MedferryError, SourceError
from medferry.manifest import set_aside
from medferry.manifest.set_aside import EntitySetAside
from medferry.source.changes.journal import Cut
from medferry.source.database import snapshot
from medferry.source.keys import ledger_key
from medferry.source.lookup import refused_queries
from medferry.sync.keys import ReadKeys, try_lines
from medferry.sync.wave import SyncedWave

log = logging.getLogger(__name__)


class EntityUnreadable(MedferryError):
    """Of some entities nothing can be read at present; all others are in step."""


def with_set_aside(wave: SyncedWave, view: sa.Connection, cut: Cut) -> Cut:
    """A cut, and what waits since earlier ones."""
    with wave.environment.manifest.begin() as connection:
        waiting = set_aside.changes_set_aside(connection, wave.environment.migration.name, wave.id)
    if not waiting:
        return cut
    both = wave.journal.resolved(view, cut.position, cut.logged | waiting)
    return replace(both, refused={**both.refused, **cut.refused})


def refused_now(wave: SyncedWave) -> dict[str, SourceError]:
    """The entities that cannot be read now, whether anything of them has changed or not, and why.

    In a view of its own, which ends at once: a lock on every table would be in the way of who changes one.
    """
    entities = wave.environment.migration.entities
    with snapshot(wave.environment.source) as view:
        found = refused_queries(view, list(entities.values()))
        for name in entities.keys() - found.keys():
            try:
                try_lines(wave, view, name)
            except SourceError as error:
                found[name] = error
    return found


def waiting_keys(wave: SyncedWave, entity: str) -> set[str]:
    """The keys of an entity that wait, as far as they can be looked up; all that are known where everything does."""
    with snapshot(wave.environment.source) as view:
        cut = with_set_aside(wave, view, Cut("", {}, frozenset(), frozenset()))
    known = wave.known_keys(entity) if entity in cut.whole else set[str]()
    return known | {ledger_key(text) for text in cut.keys.get(entity, ())}


def note_set_aside(connection: sa.Connection, wave: SyncedWave, read: ReadKeys, taken: bool = True) -> None:
    """What could not be read waits; what waited and could be is in the run that is being noted, where it is `taken`."""
    migration = wave.environment.migration
    if taken:
        set_aside.take_set_aside(connection, migration.name, wave.id, read.refused)
    for name, error in read.refused.items():
        changes = {change for change in read.waiting if change[0] == name}
        set_aside.set_changes_aside(connection, migration.name, wave.id, name, error.problem, changes)
        log.warning("%s cannot be read, its changes wait: %s", name, error)


def entities_of(wave: SyncedWave) -> list[EntitySetAside]:
    """The entities of which changes wait."""
    with wave.environment.manifest.begin() as connection:
        return set_aside.entities_set_aside(connection, wave.environment.migration.name, wave.id)


def check_readable(wave: SyncedWave) -> None:
    """Raises EntityUnreadable, when all that could be done is done."""
    if found := entities_of(wave):
        told = "; ".join(f"{one.entity}, {one.changes} change(s) since {one.since}: {one.problem}" for one in found)
        raise EntityUnreadable(
            f"Of the wave {wave.id} some entities cannot be read, all others are in step: {told}",
            "Mend the right, the query or the schema, or run `medferry capture install` for a trigger: the next cycle "
            "takes along what waits.",
        )
