"""Write decided rows into the legacy database, or remove them: some together, each by itself where that cannot be."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from more_itertools import chunked

from medferry.errors import SourceError
from medferry.manifest.held_back import HeldBack, HeldReason
from medferry.plan.model import DeletedPolicy
from medferry.source.shown_keys import shown_name
from medferry.source.write_faults import RowConflict, WriterBlocked, WriteRefused
from medferry.source.write_transaction import waits_for_nobody
from medferry.source.writeback import Edit, Row, remove_row, write_rows
from medferry.sync.reverse_decide import Decision, held_instead
from medferry.sync.wave import SyncedWave

log = logging.getLogger(__name__)

ROWS_AT_ONCE = 20
"""In one transaction: most of what a row costs by itself is the transaction's, and its locks are held for moments."""


@dataclass
class WrittenBack:
    """What became of some decisions: the rows that were written, as they read now, and what is held back instead."""

    rows: dict[tuple[str, str], Row] = field(default_factory=dict, repr=False)
    removed: set[tuple[str, str]] = field(default_factory=set)
    held: list[HeldBack] = field(default_factory=list)


def write_decided(
    wave: SyncedWave, wanted: Sequence[Decision], blocked: set[str], done: WrittenBack, together: bool
) -> None:
    """Carry the decisions out, and add to `done` what became of each. Those found on the way are added to `blocked`.

    `together`: rows may share a transaction. Raises SourceUnavailable: what was written until then is in `done`, or is
    not known.
    """
    at_once = ROWS_AT_ONCE if together and waits_for_nobody(wave.environment.legacy_writer) else 1
    for some in _in_transactions(wanted, at_once):
        if len(some) == 1 or some[0].look.entity in blocked or not _written(wave, some, done):
            for one in some:
                _tried(wave, one, blocked, done)


def _in_transactions(wanted: Sequence[Decision], at_once: int) -> Iterator[Sequence[Decision]]:
    """The rows of an entity that are written in one; each that is to be removed is by itself."""
    for (_, removed), of_entity in groupby(wanted, lambda one: (one.look.entity, one.removal is not None)):
        yield from chunked(of_entity, 1 if removed else at_once)


def _written(wave: SyncedWave, some: Sequence[Decision], done: WrittenBack) -> bool:
    """Write all of them, or none where something is in the way of any."""
    try:
        _write(wave, some, done)
    except (RowConflict, WriteRefused, SourceError):
        return False
    return True


def _tried(wave: SyncedWave, decision: Decision, blocked: set[str], done: WrittenBack) -> None:
    """Do it, or hold the record back with the reason."""
    look = decision.look
    if look.entity in blocked:
        done.held.append(held_instead(decision, HeldReason.SET_ASIDE))
        return
    try:
        if decision.removal is None:
            _write(wave, [decision], done)
        else:
            _remove(wave, decision, done)
    except RowConflict:
        done.held.append(held_instead(decision, HeldReason.ROW_CHANGED))
    except (WriterBlocked, SourceError) as error:  # refused, too, is what the entity's SQL reads by this account
        log.warning("%s is set aside: %s", look.entity, error)
        blocked.add(look.entity)
        done.held.append(held_instead(decision, HeldReason.SET_ASIDE, error.problem))
    except WriteRefused as error:
        log.warning("%s is held back: %s", shown_name(look.entity, look.key), error)
        done.held.append(held_instead(decision, HeldReason.REFUSED, error.problem))


def _write(wave: SyncedWave, some: Sequence[Decision], done: WrittenBack) -> None:
    migration, name = wave.environment.migration, some[0].look.entity
    entity, tables = migration.entities[name], migration.inverses[name].tables
    edits: list[Edit] = [(one.look.row, one.columns) for one in some if one.look.row is not None]
    written = write_rows(wave.environment.legacy_writer, entity, tables, edits, wave.through)
    done.rows |= {(name, one.look.key): row for one, row in zip(some, written, strict=True)}


def _remove(wave: SyncedWave, decision: Decision, done: WrittenBack) -> None:
    """Nothing is noted of it before: a look at a row that is gone, as its resources are, finds nothing to do."""
    look, migration = decision.look, wave.environment.migration
    assert look.row is not None
    entity, tables = migration.entities[look.entity], migration.inverses[look.entity].tables
    mark = decision.removal is DeletedPolicy.INACTIVATE
    remove_row(wave.environment.legacy_writer, entity, tables, look.row, mark, wave.through)
    done.removed.add((look.entity, look.key))
