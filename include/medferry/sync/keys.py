"""Which records of a wave a cut is about, and the business units that each had and has."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from medferry.errors import SourceError
from medferry.manifest.runs import slices_of
from medferry.manifest.source_records import GONE
from medferry.source.births import lines_of_keys
from medferry.source.changes.journal import Cut, Logged
from medferry.source.database import set_apart, stream
from medferry.source.entity import SourceEntity
from medferry.source.keys import is_escaped, ledger_key
from medferry.source.lookup import stream_keys, units_of_keys, units_of_logged
from medferry.source.slices import rows_of, units_held
from medferry.sync.wave import SyncedWave

log = logging.getLogger(__name__)

ByKey = dict[str, set[str]]
"""Source key → business units."""


@dataclass
class ReadKeys:
    """Entity → keys of the wave; and of the entities that cannot be read at present, why, and which changes wait."""

    found: dict[str, ByKey] = field(default_factory=dict)
    refused: dict[str, SourceError] = field(default_factory=dict)
    waiting: set[Logged] = field(default_factory=set)


def keys_of_cut(wave: SyncedWave, view: sa.Connection, cut: Cut) -> ReadKeys:
    """The keys of the wave that may have changed. `view` is the one that the cut was made on."""
    read = ReadKeys()
    for name, entity in wave.environment.migration.entities.items():
        try:
            if name in cut.refused:
                raise cut.refused[name]
            keys, present = _of_entity(wave, view, entity, cut)
        except SourceError as error:
            read.refused[name] = error
            read.waiting |= cut.logged_of(name) or {(name, "", None)}
            continue
        if by_key := of_wave(wave, name, keys, present):
            read.found[name] = by_key
    return read


def _of_entity(
    wave: SyncedWave, view: sa.Connection, entity: SourceEntity, cut: Cut
) -> tuple[set[str], Mapping[str, str]]:
    """Keys that may have changed, of whatever wave, and the units of the rows that are there. Raises SourceError."""
    if entity.name in cut.whole:
        with set_apart(view):
            present = _all_rows(wave, view, entity)
            try_lines(wave, view, entity.name)
        return present.keys() | wave.known_keys(entity.name), present
    if not (texts := cut.keys.get(entity.name, ())):
        return set(), {}
    with set_apart(view):
        present = units_of_logged(view, entity, texts)
        try_lines(wave, view, entity.name)
    return present.keys() | {ledger_key(text) for text in texts}, present


def keys_of_run(wave: SyncedWave, view: sa.Connection, run_id: str) -> ReadKeys:
    """The keys of an earlier run, where their rows are now, read as by `keys_to_stage`."""
    with wave.environment.manifest.begin() as connection:
        slices = slices_of(connection, run_id)
    keys: dict[str, set[str]] = {}
    for slice_ in slices:
        keys.setdefault(slice_.entity, set()).update(slice_.keys or ())
    return keys_to_stage(wave, view, keys)


def keys_to_stage(wave: SyncedWave, view: sa.Connection, keys: Mapping[str, Collection[str]]) -> ReadKeys:
    """Those of some keys that are the wave's, where their rows are now. Each row is read, so that all can be staged."""
    read = ReadKeys()
    for name, of_entity in keys.items():
        try:
            with set_apart(view):
                found = present_in_wave(wave, view, {name: of_entity})
                entity = wave.environment.migration.entities.get(name)
                if entity is not None:
                    for _ in stream_keys(view, entity, wave.environment.migration.plan.unit_ids, list(of_entity)):
                        pass
                try_lines(wave, view, name)
        except SourceError as error:
            read.refused[name] = error
            read.waiting |= {(name, "", None if is_escaped(key) else key) for key in of_entity}
            continue
        read.found |= found
    return read


def try_lines(wave: SyncedWave, view: sa.Connection, entity: str) -> None:
    """The load asks which rows were born, of what takes births: where it cannot, nothing of the entity is settled.

    Raises SourceError, after which the view goes on.
    """
    inverse = wave.environment.migration.inverses.get(entity)
    if inverse is not None and inverse.births:
        with set_apart(view):
            lines_of_keys(view, entity, [""])


def present_in_wave(wave: SyncedWave, view: sa.Connection, keys: Mapping[str, Collection[str]]) -> dict[str, ByKey]:
    """Entity → those of some keys that are the wave's, where their rows are now. Raises SourceError."""
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
    statement, values = rows_of(view.dialect.name, entity, units_held(view, entity, wave.units), None, None)
    return {entity.ledger_key_of(row): entity.unit_of(row) for row in stream(view, statement, values)}
