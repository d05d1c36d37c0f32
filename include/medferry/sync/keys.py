"""Which records of a wave a cut is about, and the business units that each had and has."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping

import sqlalchemy as sa

from medferry.manifest.runs import slices_of
from medferry.manifest.source_records import GONE
from medferry.source.changes.journal import Cut
from medferry.source.database import stream
from medferry.source.entity import SourceEntity
from medferry.source.keys import ledger_key
from medferry.source.lookup import units_of_keys, units_of_logged
from medferry.source.slices import rows_of
from medferry.sync.wave import SyncedWave

log = logging.getLogger(__name__)

ByKey = dict[str, set[str]]
"""Source key → business units."""


def keys_of_cut(wave: SyncedWave, view: sa.Connection, cut: Cut) -> dict[str, ByKey]:
    """Entity → the keys of the wave that may have changed. `view` is the one that the cut was made on."""
    found: dict[str, ByKey] = {}
    for name, entity in wave.environment.migration.entities.items():
        if name in cut.whole:
            present = _all_rows(wave, view, entity)
            keys = present.keys() | wave.known_keys(name)
        elif texts := cut.keys.get(name, ()):
            present = units_of_logged(view, entity, texts)
            keys = present.keys() | {ledger_key(text) for text in texts}
        else:
            continue
        if by_key := of_wave(wave, name, keys, present):
            found[name] = by_key
    return found


def keys_of_run(wave: SyncedWave, view: sa.Connection, run_id: str) -> dict[str, ByKey]:
    """Entity → the keys of an earlier run, where their rows are now."""
    with wave.environment.manifest.begin() as connection:
        slices = slices_of(connection, run_id)
    keys: dict[str, set[str]] = {}
    for slice_ in slices:
        keys.setdefault(slice_.entity, set()).update(slice_.keys or ())
    return present_in_wave(wave, view, keys)


def present_in_wave(wave: SyncedWave, view: sa.Connection, keys: Mapping[str, Collection[str]]) -> dict[str, ByKey]:
    """Entity → those of some keys that are the wave's, where their rows are now."""
    entities = wave.environment.migration.entities
    found = {
        name: of_wave(wave, name, of_entity, units_of_keys(view, entities[name], list(of_entity)))
        for name, of_entity in keys.items()
        if of_entity and name in entities
    }
    return {name: by_key for name, by_key in found.items() if by_key}


def of_wave(wave: SyncedWave, entity: str, keys: Iterable[str], present: Mapping[str, str]) -> ByKey:
    """Those of `keys` whose row is in a unit of the wave, or was; `present` has the units of the rows that are there.

    A row that has moved to a unit of another loaded wave is left to that one. What was found gone before, or was never
    there, is left out. A row of a unit that the plan does not name is told of: no wave takes it.
    """
    states = wave.states(entity, list(keys))
    had = {key: state.unit for key, state in states.items() if state.reason != GONE and state.unit in wave.units}
    found: ByKey = {}
    for key in keys:
        unit = present.get(key)
        if unit in wave.units or (key in had and unit not in wave.loaded.get(entity, ())):
            found[key] = {known for known in (had.get(key), unit) if known in wave.units and known is not None}
    if strays := {unit for unit in present.values() if unit not in wave.environment.migration.plan.unit_ids}:
        log.warning("Rows of %s belong to units that the plan does not name: %s.", entity, ", ".join(sorted(strays)))
    return found


def _all_rows(wave: SyncedWave, view: sa.Connection, entity: SourceEntity) -> dict[str, str]:
    statement, values = rows_of(view.dialect.name, entity, wave.units, None, None)
    return {entity.ledger_key_of(row): entity.unit_of(row) for row in stream(view, statement, values)}
