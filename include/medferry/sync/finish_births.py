"""Finish what a killed cycle has begun of births: adopt what it inserted, close the notes of which no row came."""

from __future__ import annotations

import logging
from collections.abc import Collection
from contextlib import ExitStack

import sqlalchemy as sa

from medferry.errors import LeaseHeld, SourceError
from medferry.manifest.births import NotedBirth, close_birth, open_births
from medferry.manifest.held_back import HeldBack, HeldReason, set_held_back
from medferry.manifest.waiting import waiting_records
from medferry.mapping.outcomes import Reason
from medferry.medplum.client import MedplumClient
from medferry.source.births import BornLine, find_born, lines_of_keys, settled_line
from medferry.source.database import snapshot
from medferry.source.write_faults import RowConflict, WriteRefused
from medferry.source.write_transaction import writing_rows
from medferry.stages.born import not_adopted
from medferry.sync.adopt import Adopter, Place
from medferry.sync.wave import SyncedWave

log = logging.getLogger(__name__)


def finish_births(wave: SyncedWave, client: MedplumClient | None = None, writer: bool = False) -> int:
    """Adopt what a killed cycle has inserted rows for, noted or not; returns the number of notes that are closed.

    To be called by who is alone, before anything else. `writer`: the account that writes looks for the lines, so that
    a note of which there is none is of a row that was never inserted. Raises as `Adopter.adopt`, but for LeaseHeld.
    """
    environment = wave.environment
    migration, closed = environment.migration, 0
    legacy = environment.legacy_writer if writer else environment.source
    with environment.manifest.begin() as connection:
        notes = open_births(connection, migration.name, wave.id)
    try:
        left = _left_alone(wave, legacy, {note.place for note in notes})
        if not notes and not left:
            return 0
        with snapshot(legacy) as view:
            lines = find_born(view, [note.place for note in notes])
    except SourceError as error:  # nor are the rows of these entities settled meanwhile: see `sync.keys`
        log.warning("What was inserted for births is left to a later cycle: %s", error)
        return 0
    with ExitStack() as opened:
        client = client or opened.enter_context(environment.medplum())
        adopter = Adopter(wave, client, legacy)
        for note in notes:
            closed += _finished(adopter, note, lines.get(note.place), writer)
        strange = set(not_adopted(environment, client, list(left)))
        for line, note in left.items():
            if line in strange:
                _finished(adopter, note, line, writer)
    return closed


def _left_alone(wave: SyncedWave, legacy: sa.Engine, noted: Collection[Place]) -> dict[BornLine, NotedBirth]:
    """What is to be adopted by the lines of rows that the way forth has left alone: their notes are lost, or closed."""
    migration, found = wave.environment.migration, dict[BornLine, NotedBirth]()
    taking = [name for name, inverse in migration.inverses.items() if inverse.births]
    with wave.environment.manifest.begin() as connection:
        waiting = waiting_records(connection, migration.name, taking, wave.units, (Reason.BORN_IN_MEDPLUM,))
    for entity, records in waiting.items():
        units = {record.key: record.unit for record in records}
        with snapshot(legacy) as view:
            lines = lines_of_keys(view, entity, units).values()
        found |= {
            line: NotedBirth(*line.place, entity, line.slot, wave.id, units[line.key], "", line.made)
            for line in lines
            if line.place not in noted
        }
    return found


def _finished(adopter: Adopter, note: NotedBirth, line: BornLine | None, writer: bool) -> bool:
    """Whether a note is closed now: its resource is adopted, or there is no row and none comes."""
    environment = adopter.wave.environment
    migration, held = environment.migration, list[HeldBack]()
    try:
        if line is None and writer:
            line = _last_word(adopter, note)
        elif line is None:  # a reader that lags behind may not see it yet
            return False
        held = adopter.adopt(note, line) if line else []
    except (LeaseHeld, RowConflict, WriteRefused) as error:
        log.info("%s is adopted later: %s", "/".join(note.place), error.problem)
        return False
    except SourceError as error:  # the entity's rows: all others go on
        held = [adopter.told(note, HeldReason.SET_ASIDE, error.problem)]
    with environment.manifest.begin() as connection:
        if held:
            set_held_back(connection, migration.name, migration.fingerprint, [(x.entity, x.key) for x in held], held)
        else:
            close_birth(connection, migration.name, note.place)
    return not held


def _last_word(adopter: Adopter, note: NotedBirth) -> BornLine | None:
    """The line of a note, also of a commit that is still at work. Raises RowConflict where that goes on."""
    environment, line = adopter.wave.environment, BornLine(*note.place, note.entity, note.slot, "", "")
    entity = environment.migration.entities[note.entity]
    with writing_rows(adopter.legacy, entity, adopter.wave.through) as (connection, _):
        return settled_line(connection, line)
