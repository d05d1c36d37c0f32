"""Write decided rows into the legacy database: noted, written, read back, then the new bases are recorded.

A kill leaves notes. Whether a noted row was written its content tells: the next cycle, before it does anything else,
takes over the bases of each that reads as expected and forgets the others, which are then decided about anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import sqlalchemy as sa
from more_itertools import map_reduce

from medferry.definition.migration import Migration
from medferry.errors import SourceError
from medferry.manifest import leases, runs
from medferry.manifest.crosswalk import ConfirmedWrite, Effect, find_targets, record_confirmed, set_bases
from medferry.manifest.held_back import HeldBack, HeldReason, set_held_back
from medferry.manifest.runs import RunStatus, SliceStage
from medferry.manifest.source_records import SourceRecord, write_records
from medferry.manifest.write_backs import NewBase, WriteBack, close_write_backs, note_write_backs, open_write_backs
from medferry.mapping.outcomes import Disposition
from medferry.runtime.staging import dump_row, row_digest
from medferry.source.database import snapshot
from medferry.source.lookup import row_of_key
from medferry.source.shown_keys import shown_name
from medferry.stages.key_slices import scope_of_keys, slices_of_keys
from medferry.stages.prepare import begin
from medferry.sync.carry_out import OPTIONS
from medferry.sync.made import Made, Maker
from medferry.sync.reverse_decide import Decision, held_instead
from medferry.sync.reverse_rows import WrittenBack, write_decided
from medferry.sync.wave import SyncedWave

log = logging.getLogger(__name__)

Row = Mapping[str, Any]


def write_back(
    wave: SyncedWave,
    decisions: Sequence[Decision],
    blocked: set[str],
    at_end: Callable[[sa.Connection, WrittenBack], None],
    together: bool = True,
) -> WrittenBack:
    """Write the rows of `decisions`; `at_end` writes in the transaction that records the new bases.

    `together`: several may share a transaction, in which what is in the way of one is in the way of all.
    `blocked` are entities that cannot be written: nothing is tried of them, and those found on the way are added.
    Raises LeaseHeld, SourceUnavailable, and then nothing was recorded but what the next cycle finishes.
    """
    done = WrittenBack()
    due = [one for one in decisions if one.columns or one.removal]
    wanted = [one for one in due if one.look.entity not in blocked]
    done.held += [held_instead(one, HeldReason.SET_ASIDE) for one in due if one.look.entity in blocked]
    if not wanted:
        with wave.environment.manifest.begin() as connection:
            at_end(connection, done)
        return done
    run_id = wave.new_run_id()
    notes = _begun(wave, run_id, wanted)
    try:
        write_decided(wave, wanted, blocked, done, together)
        written = _read_back(wave, {note: row for note in notes if (row := done.rows.get((note.entity, note.key)))})
        with wave.environment.manifest.begin() as connection:
            _take_over(connection, wave, written)
            close_write_backs(connection, wave.environment.migration.name, [(one.entity, one.key) for one in notes])
            at_end(connection, done)
            _end(connection, run_id, RunStatus.APPLIED)
    except BaseException:
        with wave.environment.manifest.begin() as connection:
            _end(connection, run_id, RunStatus.FAILED)
        raise
    return done


def finish_write_backs(wave: SyncedWave) -> int:
    """Take over what a killed cycle has written, and forget what it has not; returns the number of notes.

    To be called by who is alone, before anything else. Notes of an entity that cannot be read now stay, and are told as
    held back: should its row be read before they are looked at, it is found equal to its resources. Raises
    SourceUnavailable.
    """
    environment = wave.environment
    with environment.manifest.begin() as connection:
        notes = open_write_backs(connection, environment.migration.name, wave.id)
    unread: dict[str, str] = {}
    for note in notes:
        if note.entity not in unread:
            try:
                _finish(wave, note)
            except SourceError as error:
                log.warning("What was to be written of %s is left to a later cycle: %s", note.entity, error)
                unread[note.entity] = error.problem
    left = [note for note in notes if note.entity in unread]
    held = [HeldBack(x.entity, x.key, x.unit, HeldReason.SET_ASIDE, detail=unread[x.entity]) for x in left]
    for one in held:
        with environment.manifest.begin() as connection:
            migration = environment.migration
            set_held_back(connection, migration.name, migration.fingerprint, [(one.entity, one.key)], [one])
    return len(notes)


def _finish(wave: SyncedWave, note: WriteBack) -> None:
    """Raises SourceUnavailable, SourceError."""
    environment = wave.environment
    entity = environment.migration.entities.get(note.entity)
    row = None
    if entity is not None:
        with snapshot(environment.source) as view:
            row = row_of_key(view, entity, note.key)
    written = row is not None and _digest_but_times(wave, note.entity, row) == note.expected
    read = _read_back(wave, {note: row}) if written and row is not None else []
    with environment.manifest.begin() as connection:
        _take_over(connection, wave, read)
        close_write_backs(connection, environment.migration.name, [(note.entity, note.key)])
    told = (shown_name(note.entity, note.key), "written" if written else "not written")
    log.info("%s was %s by a cycle that was killed.", *told)


def _begun(wave: SyncedWave, run_id: str, wanted: Sequence[Decision]) -> list[WriteBack]:
    """Note a run of the records, and with it what is about to be written."""
    migration = wave.environment.migration
    keys: dict[str, dict[str, set[str]]] = {}
    for one in wanted:
        keys.setdefault(one.look.entity, {})[one.look.key] = {one.look.unit}
    notes = [_note(wave, run_id, one) for one in wanted if one.columns]
    scope, slices = scope_of_keys(migration, keys), slices_of_keys(migration, keys, OPTIONS.slice_rows)
    begin(
        wave.environment,
        run_id,
        wave.kind,
        scope,
        OPTIONS,
        slices,
        beside=lambda connection: note_write_backs(connection, migration.name, notes),
    )
    return notes


def _note(wave: SyncedWave, run_id: str, decision: Decision) -> WriteBack:
    look = decision.look
    assert look.row is not None
    expected = _digest_but_times(wave, look.entity, {**look.row, **decision.columns})
    return WriteBack(look.entity, look.key, wave.id, look.unit, run_id, expected, decision.in_step, decision.bases)


def _digest_but_times(wave: SyncedWave, entity: str, row: Row) -> str:
    """Of a row without the columns that tell when it was changed."""
    migration = wave.environment.migration
    times = {migration.entities[entity].changed}
    if entity in migration.inverses:
        times |= {table.touched for table in migration.inverses[entity].tables}
    return row_digest(dump_row({name: value for name, value in sorted(row.items()) if name not in times}))


@dataclass(frozen=True, slots=True)
class _ReadBack:
    """A row as it was written. `digest` is "" where the way forth has something to do about it."""

    note: WriteBack
    digest: str
    findings: list[tuple[str, str, str, str]]

    @property
    def proven(self) -> list[ConfirmedWrite]:
        return [_confirmed(self.note.entity, base) for base in self.note.bases]

    def record(self, slice_id: str, migration: Migration) -> SourceRecord:
        note = self.note
        return SourceRecord(
            note.entity, note.key, note.unit, slice_id, Disposition.SUCCESSFUL, migration.specs[note.entity].version,
            source_digest=self.digest, fingerprint=migration.fingerprint,
        )  # fmt: skip


def _read_back(wave: SyncedWave, rows: Mapping[WriteBack, Row]) -> list[_ReadBack]:
    read = []
    for entity, notes in map_reduce(rows, attrgetter("entity")).items():
        made = Maker(wave.environment, entity).of_all(rows[note] for note in notes)
        read += [_compared(note, rows[note], one) for note, one in zip(notes, made, strict=True)]
    return read


def _compared(note: WriteBack, row: Row, made: Made) -> _ReadBack:
    wanted = {base.name: base.wanted_hash or base.content_hash for base in note.bases}
    in_step = note.in_step and {one.name: one.hash for one in made.slots.values()} == wanted
    findings = [(note.entity, note.key, found.reason, found.field) for found in made.findings]
    return _ReadBack(note, row_digest(dump_row(row)) if in_step else "", findings)


def _take_over(connection: sa.Connection, wave: SyncedWave, read: Sequence[_ReadBack]) -> None:
    """Record the bases of rows that were written, and their digests, so that the way forth finds them unchanged.

    What somebody else has recorded meanwhile stays.
    """
    migration = wave.environment.migration
    known = find_targets(connection, migration.name, [base.name for one in read for base in one.note.bases])
    present = [
        one for one in read
        if all(base.name in known and known[base.name].version_id == base.known_version for base in one.note.bases)
    ]  # fmt: skip
    set_bases(connection, migration.name, [each for one in present if not one.digest for each in one.proven])
    for run_id, of_run in map_reduce((one for one in present if one.digest), lambda one: one.note.run_id).items():
        _settled(connection, migration, run_id, of_run)


def _settled(connection: sa.Connection, migration: Migration, run_id: str, read: Sequence[_ReadBack]) -> None:
    """Record rows that the way forth has nothing to do about."""
    slices = {(one.entity, key): one.id for one in runs.slices_of(connection, run_id) for key in one.keys or ()}
    for slice_id, some in map_reduce(read, lambda one: slices.get((one.note.entity, one.note.key), "")).items():
        proven = [each for one in some for each in one.proven]
        record_confirmed(connection, migration.name, run_id, slice_id, proven)
        records = [one.record(slice_id, migration) for one in some]
        write_records(connection, run_id, records, [each for one in some for each in one.findings])


def _confirmed(entity: str, base: NewBase) -> ConfirmedWrite:
    place = (base.resource_type, base.medplum_id, base.version_id)
    return ConfirmedWrite(*base.name, entity, *place, base.content_hash, Effect.UNCHANGED, base.wanted_hash)


def _end(connection: sa.Connection, run_id: str, status: RunStatus) -> None:
    for one in runs.slices_of(connection, run_id):
        runs.set_stage(connection, run_id, one.id, SliceStage.LOADED)
    runs.finish_run(connection, run_id, status)
    leases.release(connection, run_id)
