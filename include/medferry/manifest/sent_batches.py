"""What was sent to Medplum, written down before it is sent: whoever comes next knows what may still arrive.

A note is open until every answer has come and is recorded, or until evidence has told how each of its entries ended. An
open note is a doubt for as long as its sender's settings say, or its judge's where these are longer; after that it is
watched for `WATCHED_SECONDS`, because a batch that a server held for hours may still be done. Its age is by the
manifest database's clock and by Medplum's own, and the lesser counts: a clock that is set forward makes nothing old.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from operator import attrgetter

import sqlalchemy as sa

from medferry.manifest.clock import clock, read_clock, seconds_between
from medferry.manifest.crosswalk import Action
from medferry.manifest.runs import SliceRow
from medferry.manifest.tables_of_sending import sent_batch

WATCHED_SECONDS = 86_400.0
"""An open note is looked at for a day."""

_SERVERS_SECOND = 1.0
"""Medplum's clock is known to the second."""


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
class Sending:
    """How long the sender waits for what gets no answer, and Medplum's time; None, empty: not known."""

    settle_seconds: float | None = None
    server_at: str = ""


_UNKNOWN = Sending()


@dataclass(frozen=True, slots=True)
class SentBatch:
    """An open note. `age` is in seconds; `entries` are in the order in which they were sent.

    `settle_seconds` is how long its sender would wait for its end; None: not known.
    """

    id: int
    run_id: str
    entity: str
    age: float
    entries: tuple[SentEntry, ...]
    settle_seconds: float | None = None

    def settles_after(self, settle_seconds: float) -> float:
        """Seconds of age at which it is given up: the longer of the sender's and of the judge's `settle_seconds`."""
        return max(settle_seconds, self.settle_seconds or 0.0)


def note(
    connection: sa.Connection,
    migration: str,
    slice_: SliceRow,
    entries: Sequence[SentEntry],
    sending: Sending = _UNKNOWN,
) -> int:
    """Note a batch that is about to be sent; returns the note's number."""
    return _noted(connection, migration, (slice_.run_id, slice_.id, slice_.entity), entries, sending)


def note_act(
    connection: sa.Connection,
    migration: str,
    holder: str,
    entity: str,
    entry: SentEntry,
    sending: Sending = _UNKNOWN,
) -> int:
    """Note what an act that is no run is about to send; a load holds the name back while its end is not known."""
    return _noted(connection, migration, (holder, "", entity), [entry], sending)


def _noted(
    connection: sa.Connection,
    migration: str,
    of: tuple[str, str, str],
    entries: Sequence[SentEntry],
    sending: Sending,
) -> int:
    run_id, slice_id, entity = of
    values = {
        "migration": migration,
        "run_id": run_id,
        "slice_id": slice_id,
        "entity": entity,
        "entries": [_line(entry) for entry in entries],
        "sent_at": clock(connection),
        "settle_seconds": sending.settle_seconds,
        "server_at": sending.server_at or None,
    }
    return int(connection.execute(sa.insert(sent_batch).values(values).returning(sent_batch.c.id)).scalar_one())


def end_acts_on(connection: sa.Connection, migration: str, name: tuple[str, str], medplum_id: str) -> None:
    """Close the notes of acts on a resource of which the end is known."""
    acts = (Action.REMOVE, Action.INACTIVATE)
    for batch in open_batches(connection, migration):
        if any((one.name, one.medplum_id) == (name, medplum_id) and one.action in acts for one in batch.entries):
            end(connection, [batch.id])


def renew(connection: sa.Connection, id_: int, seconds: float) -> None:
    """Let an open note begin so many seconds ago, when its sender knew that no answer comes.

    He may have stood still on the way out until then. No later: who waits for it counts from that moment, too.
    """
    still_open = sent_batch.c.id == id_, sent_batch.c.ended_at.is_(None)
    connection.execute(sa.update(sent_batch).where(*still_open).values(sent_at=clock(connection, -seconds)))


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


def open_batches(
    connection: sa.Connection, migration: str, entities: Collection[str] | None = None, server_now: str | None = None
) -> list[SentBatch]:
    """The open notes of a migration that are watched still, of some `entities` or of all, in the order of sending.

    `server_now` is Medplum's present by its own clock; empty where no answer has told it: then a note whose sender knew
    that time is as young as can be. None: only the manifest's clock is asked.
    """
    wanted = [sent_batch.c.migration == migration, sent_batch.c.ended_at.is_(None)]
    if entities is not None:
        wanted.append(sent_batch.c.entity.in_(sorted(entities)))
    statement = sa.select(sent_batch).where(*wanted).order_by(sent_batch.c.id)
    rows = connection.execute(statement).all()
    present = read_clock(connection) if rows else ""
    aged = [(row, _age(row.sent_at, present, row.server_at, server_now)) for row in rows]
    return [
        SentBatch(
            row.id,
            row.run_id,
            row.entity,
            age,
            tuple(SentEntry(*line) for line in row.entries),
            row.settle_seconds,
        )
        for row, age in aged
        if age < WATCHED_SECONDS
    ]


def _age(sent_at: str, present: str, server_at: str | None, server_now: str | None) -> float:
    """Seconds since a batch was sent: the least that the two clocks agree on."""
    age = max(seconds_between(sent_at, present), 0.0)
    if server_at is None or server_now is None:
        return age
    if not server_now:
        return 0.0
    return min(age, max(seconds_between(server_at, server_now), 0.0) + _SERVERS_SECOND)


def count_ended(connection: sa.Connection, migration: str, entities: Collection[str]) -> int:
    """How many batches of some entities have come to a known end."""
    ended = sa.and_(
        sent_batch.c.migration == migration,
        sent_batch.c.entity.in_(sorted(entities)),
        sent_batch.c.ended_at.is_not(None),
    )
    return connection.scalar(sa.select(sa.func.count()).select_from(sent_batch).where(ended)) or 0


def any_open(connection: sa.Connection, migration: str, entity: str, server_now: str) -> bool:
    """Whether something of an entity was sent of which the end is not known."""
    return bool(open_batches(connection, migration, [entity], server_now))
