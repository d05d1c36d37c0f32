"""What was sent to Medplum, written down before it is sent: whoever comes next knows what may still arrive.

A note is open until every answer has come and is recorded, or until evidence has told how each of its entries ended. An
open note is a doubt for as long as the settings say; after that it is watched for `WATCHED_SECONDS`, because a batch
that a server held for hours may still be done. All ages are by the manifest database's clock.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from operator import attrgetter

import sqlalchemy as sa

from medferry.manifest.clock import clock, read_clock, seconds_between
from medferry.manifest.crosswalk import Action
from medferry.manifest.runs import SliceRow
from medferry.manifest.tables import sent_batch

WATCHED_SECONDS = 86_400.0
"""An open note is looked at for a day."""


@dataclass(frozen=True, slots=True)
class SentEntry:
    """One entry of a sent batch.

    Of an update, `medplum_id` and `version_id` are those that it was to replace; of a create they are empty, until an
    answer brought them that could not be proven yet. `wanted_hash` is of what the mapping made, where that was merged
    into what is there.
    """

    system: str
    value: str
    action: str
    resource_type: str
    content_hash: str
    medplum_id: str = ""
    version_id: str = ""
    wanted_hash: str = ""

    @property
    def wanted(self) -> str:
        """The hash of what the mapping made."""
        return self.wanted_hash or self.content_hash

    @property
    def name(self) -> tuple[str, str]:
        return self.system, self.value


_line = attrgetter(*SentEntry.__slots__)


@dataclass(frozen=True, slots=True)
class SentBatch:
    """An open note. `age` is in seconds; `entries` are in the order in which they were sent."""

    id: int
    run_id: str
    entity: str
    age: float
    entries: tuple[SentEntry, ...]


def note(connection: sa.Connection, migration: str, slice_: SliceRow, entries: Sequence[SentEntry]) -> int:
    """Note a batch that is about to be sent; returns the note's number."""
    return _noted(connection, migration, slice_.run_id, slice_.id, slice_.entity, entries)


def note_act(connection: sa.Connection, migration: str, holder: str, entity: str, entry: SentEntry) -> int:
    """Note what an act that is no run is about to send; a load holds the name back while its end is not known."""
    return _noted(connection, migration, holder, "", entity, [entry])


def _noted(
    connection: sa.Connection, migration: str, run_id: str, slice_id: str, entity: str, entries: Sequence[SentEntry]
) -> int:
    values = {
        "migration": migration,
        "run_id": run_id,
        "slice_id": slice_id,
        "entity": entity,
        "entries": [_line(entry) for entry in entries],
        "sent_at": clock(connection),
    }
    return int(connection.execute(sa.insert(sent_batch).values(values).returning(sent_batch.c.id)).scalar_one())


def end_acts_on(connection: sa.Connection, migration: str, name: tuple[str, str], medplum_id: str) -> None:
    """Close the notes of acts on a resource of which the end is known."""
    acts = (Action.REMOVE, Action.INACTIVATE)
    for batch in open_batches(connection, migration):
        if any((one.name, one.medplum_id) == (name, medplum_id) and one.action in acts for one in batch.entries):
            end(connection, [batch.id])


def end(connection: sa.Connection, ids: Collection[int]) -> None:
    """Close notes of which nothing can arrive any more."""
    if ids:
        ended = {"ended_at": clock(connection), "entries": []}
        connection.execute(sa.update(sent_batch).where(sent_batch.c.id.in_(list(ids))).values(ended))


def keep_only(connection: sa.Connection, id_: int, entries: Sequence[SentEntry]) -> None:
    """Let an open note be about these entries alone; without any it is closed."""
    if not entries:
        end(connection, [id_])
        return
    kept = [_line(entry) for entry in entries]
    connection.execute(sa.update(sent_batch).where(sent_batch.c.id == id_).values(entries=kept))


def settle_entries(connection: sa.Connection, settled: Collection[tuple[int, tuple[str, str]]]) -> None:
    """Take entries (note, name) whose end is known out of their notes; a note without any other is closed."""
    ids = sorted({id_ for id_, _ in settled})
    if not ids:
        return
    statement = sa.select(sent_batch.c.id, sent_batch.c.entries).where(sent_batch.c.id.in_(ids))
    for id_, lines in connection.execute(statement.order_by(sent_batch.c.id).with_for_update()).all():
        entries = [SentEntry(*line) for line in lines]
        keep_only(connection, id_, [entry for entry in entries if (id_, entry.name) not in settled])


def open_batches(connection: sa.Connection, migration: str, entities: Collection[str] | None = None) -> list[SentBatch]:
    """The open notes of a migration that are watched still, of some `entities` or of all, in the order of sending."""
    wanted = [
        sent_batch.c.migration == migration,
        sent_batch.c.ended_at.is_(None),
        sent_batch.c.sent_at > clock(connection, -WATCHED_SECONDS),
    ]
    if entities is not None:
        wanted.append(sent_batch.c.entity.in_(sorted(entities)))
    statement = sa.select(sent_batch).where(*wanted).order_by(sent_batch.c.id)
    rows = connection.execute(statement).all()
    present = read_clock(connection) if rows else ""
    return [
        SentBatch(
            row.id,
            row.run_id,
            row.entity,
            max(seconds_between(row.sent_at, present), 0.0),
            tuple(SentEntry(*line) for line in row.entries),
        )
        for row in rows
    ]


def count_ended(connection: sa.Connection, migration: str, entities: Collection[str]) -> int:
    """How many batches of some entities have come to a known end."""
    ended = sa.and_(
        sent_batch.c.migration == migration,
        sent_batch.c.entity.in_(sorted(entities)),
        sent_batch.c.ended_at.is_not(None),
    )
    return connection.scalar(sa.select(sa.func.count()).select_from(sent_batch).where(ended)) or 0


def any_open(connection: sa.Connection, migration: str, entity: str) -> bool:
    """Whether something of an entity was sent of which the end is not known."""
    return bool(open_batches(connection, migration, [entity]))
