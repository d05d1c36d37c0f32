"""Checkpoints of the synchronisation: which changes of the legacy database a wave has taken, and how far that got.

A cut is noted before anything is done by it, in the transaction that writes its run; it is applied when that run has
settled every key. The newest one holds the position from which the next cut is taken. Cuts without a key only move the
newest checkpoint's position on. A sweep is a checkpoint too: what it missed, or where the journal goes on from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import sqlalchemy as sa

from medferry.manifest.clock import clock
from medferry.manifest.tables import Time, metadata
from medferry.source.changes.rules import CaptureMethod

checkpoint = sa.Table(
    "checkpoint",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("migration", sa.String(40), nullable=False),
    sa.Column("wave", sa.String(40), nullable=False),
    sa.Column("method", sa.String(10), nullable=False, comment="log, sweep"),
    sa.Column("position_from", sa.Text, nullable=False, comment="of the journal; empty: a sweep began here"),
    sa.Column("position_to", sa.Text, nullable=False, comment="of the journal, opaque"),
    sa.Column("interval_from", sa.String(40), nullable=False, comment="of the scheduled run; empty: of none"),
    sa.Column("interval_to", sa.String(40), nullable=False),
    sa.Column("state", sa.String(10), nullable=False, comment="recorded, applied"),
    sa.Column("run_id", sa.String(200), nullable=False, comment="the run that applies it; empty: there was no key"),
    sa.Column("records", sa.Integer, nullable=False, comment="source records of the run"),
    sa.Column("cycles", sa.Integer, nullable=False, comment="1, and the cuts without a key since"),
    sa.Column("ages", sa.JSON, nullable=False, comment="entity to age of its changes in seconds to their number"),
    sa.Column("cut_at", Time, nullable=False),
    sa.Column("applied_at", Time),
    sa.Column("units", sa.JSON, comment="business units of the wave for which it was made; null: not known"),
    sa.Index("checkpoint_newest", "migration", "wave", "id"),
    comment="cuts of the journal that a wave has taken, each noted before work",
)


class CheckpointState(StrEnum):
    """How far a cut has got."""

    RECORDED = "recorded"
    """Its keys are those of its run; nothing is known to be done."""
    APPLIED = "applied"
    """Every key of it is settled."""


Ages = Mapping[str, Mapping[str, int]]
"""Entity → age of a change in whole seconds, when the cut was made → changes of that age."""


@dataclass(frozen=True, slots=True)
class Interval:
    """The data interval [start, end) of a scheduled run, as texts that sort by time."""

    start: str
    end: str


NO_INTERVAL = Interval("", "")
"""Of a cut that no scheduled run has made."""


@dataclass(frozen=True, slots=True)
class NewCheckpoint:
    """A cut that has just been made."""

    migration: str
    wave: str
    method: CaptureMethod
    position_from: str
    position_to: str
    run_id: str = ""
    records: int = 0
    interval: Interval = NO_INTERVAL
    ages: Ages = field(default_factory=dict)
    units: Sequence[str] | None = None
    """Of the wave: what was changed in others before the cut is in none of the wave's. None: not known."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A cut as the manifest keeps it."""

    id: int
    method: str
    position_from: str
    position_to: str
    interval_from: str
    interval_to: str
    state: str
    run_id: str
    records: int
    cycles: int
    ages: Ages
    cut_at: str
    applied_at: str | None
    units: Sequence[str] | None


_COLUMNS = [checkpoint.c[name] for name in Checkpoint.__slots__]


def record(connection: sa.Connection, new: NewCheckpoint) -> None:
    """Note a cut; without a run there is nothing to be done by it, and it is applied."""
    connection.execute(
        sa.insert(checkpoint).values(
            migration=new.migration,
            wave=new.wave,
            method=new.method,
            position_from=new.position_from,
            position_to=new.position_to,
            interval_from=new.interval.start,
            interval_to=new.interval.end,
            state=CheckpointState.RECORDED if new.run_id else CheckpointState.APPLIED,
            run_id=new.run_id,
            records=new.records,
            cycles=1,
            ages=new.ages,
            units=sa.null() if new.units is None else [*new.units],
            cut_at=clock(connection),
            applied_at=None if new.run_id else clock(connection),
        )
    )


def move_on(connection: sa.Connection, checkpoint_id: int, position: str) -> None:
    """A further cut had no key."""
    values = {"position_to": position, "cycles": checkpoint.c.cycles + 1}
    connection.execute(sa.update(checkpoint).where(checkpoint.c.id == checkpoint_id).values(values))


def set_run(connection: sa.Connection, checkpoint_id: int, run_id: str) -> None:
    """Another run applies the same keys."""
    connection.execute(sa.update(checkpoint).where(checkpoint.c.id == checkpoint_id).values(run_id=run_id))


def set_applied(connection: sa.Connection, checkpoint_id: int) -> None:
    values = {"state": CheckpointState.APPLIED, "applied_at": clock(connection)}
    connection.execute(sa.update(checkpoint).where(checkpoint.c.id == checkpoint_id).values(values))


def newest(connection: sa.Connection, migration: str, wave: str) -> Checkpoint | None:
    """The wave's last cut; None: it never began."""
    statement = sa.select(*_COLUMNS).where(*_of(migration, wave)).order_by(checkpoint.c.id.desc()).limit(1)
    row = connection.execute(statement).one_or_none()
    return Checkpoint(**row._mapping) if row else None


def unfinished(connection: sa.Connection, migration: str, wave: str) -> Checkpoint | None:
    """The cut that was noted and not applied. There is one at most, the newest: the next is made after it."""
    found = newest(connection, migration, wave)
    return found if found and found.state == CheckpointState.RECORDED else None


def of_interval(connection: sa.Connection, migration: str, wave: str, interval: Interval) -> list[Checkpoint]:
    """The cuts that scheduled runs within an interval have made, in their order."""
    within = (checkpoint.c.interval_from >= interval.start, checkpoint.c.interval_to <= interval.end)
    named = (checkpoint.c.interval_to != "", *within)
    statement = sa.select(*_COLUMNS).where(*_of(migration, wave), *named).order_by(checkpoint.c.id)
    return [Checkpoint(**row._mapping) for row in connection.execute(statement)]


def any_later(connection: sa.Connection, migration: str, wave: str, interval: Interval) -> bool:
    """Whether a scheduled run of a later interval has made a cut."""
    later = (checkpoint.c.interval_from >= interval.end, checkpoint.c.interval_to != "")
    return connection.scalar(sa.select(checkpoint.c.id).where(*_of(migration, wave), *later).limit(1)) is not None


def recent(connection: sa.Connection, migration: str, wave: str, limit: int) -> list[Checkpoint]:
    """The newest cuts with a key that are applied, the newest first."""
    done = (checkpoint.c.state == CheckpointState.APPLIED, checkpoint.c.method == CaptureMethod.LOG)
    statement = sa.select(*_COLUMNS).where(*_of(migration, wave), *done, checkpoint.c.records > 0)
    rows = connection.execute(statement.order_by(checkpoint.c.id.desc()).limit(limit))
    return [Checkpoint(**row._mapping) for row in rows]


def _of(migration: str, wave: str) -> tuple[sa.ColumnElement[bool], ...]:
    return checkpoint.c.migration == migration, checkpoint.c.wave == wave
