"""Write decided rows into the legacy database: noted, written one by one, read back, then the new bases are recorded.

A kill leaves notes. Whether a noted row was written its content tells: the next cycle, before it does anything else,
takes over the bases of each that reads as expected and forgets the others, which are then decided about anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import sqlalchemy as sa

from medferry.errors import SourceError
from medferry.manifest import leases, runs
from medferry.manifest.crosswalk import ConfirmedWrite, Effect, find_targets, record_confirmed, set_bases
from medferry.manifest.held_back import HeldBack, HeldReason, set_held_back
from medferry.manifest.runs import RunStatus, SliceStage
from medferry.manifest.source_records import SourceRecord, write_records
from medferry.manifest.write_backs import NewBase, WriteBack, close_write_backs, note_write_backs, open_write_backs
from medferry.mapping.outcomes import Disposition
from medferry.plan.model import DeletedPolicy
from medferry.runtime.staging import dump_row, row_digest
from medferry.source.database import snapshot
from medferry.source.lookup import row_of_key
from medferry.source.shown_keys import shown_name
from medferry.source.writeback import RowConflict, WriterBlocked, WriteRefused, remove_row, write_row
from medferry.stages.key_slices import scope_of_keys, slices_of_keys
from medferry.stages.prepare import begin
from medferry.sync.carry_out import OPTIONS
from medferry.sync.reverse_decide import Decision, held_instead
from medferry.sync.reverse_look import made_of
from medferry.sync.wave import SyncedWave

log = logging.getLogger(__name__)

Row = Mapping[str, Any]


@dataclass
class WrittenBack:
    """What became of some decisions: the rows that were written, as they read now, and what is held back instead."""

    rows: dict[tuple[str, str], Row] = field(default_factory=dict, repr=False)
    removed: set[tuple[str, str]] = field(default_factory=set)
    held: list[HeldBack] = field(default_factory=list)


def write_back(
    wave: SyncedWave,
    decisions: Sequence[Decision],
    blocked: set[str],
    at_end: Callable[[sa.Connection, WrittenBack], None],
) -> WrittenBack:
    """Write the rows of `decisions`; `at_end` writes in the transaction that records the new bases.

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
        for one in wanted:
            _tried(one, blocked, done, partial(_remove if one.removal else _write, wave, one, done))
        written = [_read_back(wave, note, row) for note in notes if (row := done.rows.get((note.entity, note.key)))]
        with wave.environment.manifest.begin() as connection:
            for one_read in written:
                _take_over(connection, wave, one_read)
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
    read = _read_back(wave, note, row) if written and row is not None else None
    with environment.manifest.begin() as connection:
        if read is not None:
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


def _write(wave: SyncedWave, decision: Decision, done: WrittenBack) -> None:
    look, migration = decision.look, wave.environment.migration
    assert look.row is not None
    entity, tables = migration.entities[look.entity], migration.inverses[look.entity].tables
    written = write_row(wave.environment.legacy_writer, entity, tables, look.row, decision.columns, wave.through)
    done.rows[look.entity, look.key] = written


def _remove(wave: SyncedWave, decision: Decision, done: WrittenBack) -> None:
    """Nothing is noted of it before: a look at a row that is gone, as its resources are, finds nothing to do."""
    look, migration = decision.look, wave.environment.migration
    assert look.row is not None
    entity, tables = migration.entities[look.entity], migration.inverses[look.entity].tables
    mark = decision.removal is DeletedPolicy.INACTIVATE
    remove_row(wave.environment.legacy_writer, entity, tables, look.row, mark, wave.through)
    done.removed.add((look.entity, look.key))


def _tried(decision: Decision, blocked: set[str], done: WrittenBack, act: Callable[[], None]) -> None:
    """Do it, or hold the record back with the reason."""
    look = decision.look
    if look.entity in blocked:
        done.held.append(held_instead(decision, HeldReason.SET_ASIDE))
        return
    try:
        act()
    except RowConflict:
        done.held.append(held_instead(decision, HeldReason.ROW_CHANGED))
    except (WriterBlocked, SourceError) as error:  # refused, too, is what the entity's SQL reads by this account
        log.warning("%s is set aside: %s", look.entity, error)
        blocked.add(look.entity)
        done.held.append(held_instead(decision, HeldReason.SET_ASIDE, error.problem))
    except WriteRefused as error:
        log.warning("%s is held back: %s", shown_name(look.entity, look.key), error)
        done.held.append(held_instead(decision, HeldReason.REFUSED, error.problem))


@dataclass(frozen=True, slots=True)
class _ReadBack:
    """A row as it was written. `digest` is "" where the way forth has something to do about it."""

    note: WriteBack
    digest: str
    findings: list[tuple[str, str, str, str]]


def _read_back(wave: SyncedWave, note: WriteBack, row: Row) -> _ReadBack:
    made = made_of(wave.environment, note.entity, row)
    wanted = {base.name: base.wanted_hash or base.content_hash for base in note.bases}
    in_step = note.in_step and {one.name: one.hash for one in made.slots.values()} == wanted
    findings = [(note.entity, note.key, found.reason, found.field) for found in made.findings]
    return _ReadBack(note, row_digest(dump_row(row)) if in_step else "", findings)


def _take_over(connection: sa.Connection, wave: SyncedWave, read: _ReadBack) -> None:
    """Record the bases of a row that was written, and its digest, so that the way forth finds it unchanged.

    What somebody else has recorded meanwhile stays.
    """
    note, migration = read.note, wave.environment.migration
    known = find_targets(connection, migration.name, [base.name for base in note.bases])
    if any(base.name not in known or known[base.name].version_id != base.known_version for base in note.bases):
        return
    slice_id = next((one.id for one in runs.slices_of(connection, note.run_id)
                     if one.entity == note.entity and note.key in (one.keys or ())), "")  # fmt: skip
    proven = [_confirmed(note.entity, base) for base in note.bases]
    if not read.digest:
        set_bases(connection, migration.name, proven)
        return
    record_confirmed(connection, migration.name, note.run_id, slice_id, proven)
    record = SourceRecord(
        note.entity,
        note.key,
        note.unit,
        slice_id,
        Disposition.SUCCESSFUL,
        migration.specs[note.entity].version,
        source_digest=read.digest,
        fingerprint=migration.fingerprint,
    )
    write_records(connection, note.run_id, [record], read.findings)


def _confirmed(entity: str, base: NewBase) -> ConfirmedWrite:
    place = (base.resource_type, base.medplum_id, base.version_id)
    return ConfirmedWrite(*base.name, entity, *place, base.content_hash, Effect.UNCHANGED, base.wanted_hash)


def _end(connection: sa.Connection, run_id: str, status: RunStatus) -> None:
    for one in runs.slices_of(connection, run_id):
        runs.set_stage(connection, run_id, one.id, SliceStage.LOADED)
    runs.finish_run(connection, run_id, status)
    leases.release(connection, run_id)
