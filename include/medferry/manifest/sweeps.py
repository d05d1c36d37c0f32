"""Sweeps of a wave's entities: how far each got, how much the journal had missed, and whether it is told to stop."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from medferry.manifest.clock import clock
from medferry.manifest.tables import Time, metadata

sweep = sa.Table(
    "sweep",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("migration", sa.String(40), nullable=False),
    sa.Column("wave", sa.String(40), nullable=False),
    sa.Column("entity", sa.String(40), nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False, comment="looked at"),
    sa.Column("missed", sa.BigInteger, nullable=False, comment="differing, with no change of them in the journal"),
    sa.Column("complete", sa.Boolean, nullable=False, comment="false: stopped, or it died"),
    sa.Column("stop", sa.Boolean, nullable=False, comment="an operator's"),
    sa.Column("started_at", Time, nullable=False),
    sa.Column("finished_at", Time),
    sa.Index("sweep_newest", "migration", "wave", "entity", "id"),
    comment="comparisons of all rows of an entity with what was applied",
)


@dataclass(frozen=True, slots=True)
class SweepRow:
    """A sweep as the manifest keeps it."""

    id: int
    entity: str
    rows: int
    missed: int
    complete: bool
    started_at: str
    finished_at: str | None

    @property
    def miss_rate(self) -> float:
        """Missed rows among those looked at, from 0 to 1."""
        return self.missed / self.rows if self.rows else float(bool(self.missed))


def begin(connection: sa.Connection, migration: str, wave: str, entity: str) -> int:
    """Note that a sweep begins; returns its id."""
    values = {"rows": 0, "missed": 0, "complete": False, "stop": False, "started_at": clock(connection)}
    statement = sa.insert(sweep).values(migration=migration, wave=wave, entity=entity, **values)
    return int(connection.execute(statement.returning(sweep.c.id)).scalar_one())


def end(connection: sa.Connection, sweep_id: int, rows: int, missed: int, complete: bool) -> None:
    values = {"rows": rows, "missed": missed, "complete": complete, "finished_at": clock(connection)}
    connection.execute(sa.update(sweep).where(sweep.c.id == sweep_id).values(values))


def stop(connection: sa.Connection, migration: str, wave: str) -> int:
    """Tell the sweeps of a wave that are at work to end after their page; returns how many there are."""
    at_work = (sweep.c.migration == migration, sweep.c.wave == wave, sweep.c.finished_at.is_(None))
    return int(connection.execute(sa.update(sweep).where(*at_work).values(stop=True)).rowcount)


def is_stopped(connection: sa.Connection, sweep_id: int) -> bool:
    return bool(connection.scalar(sa.select(sweep.c.stop).where(sweep.c.id == sweep_id)))


def newest_sweeps(connection: sa.Connection, migration: str, wave: str) -> dict[str, SweepRow]:
    """Entity → its newest sweep that has ended."""
    ended = (sweep.c.migration == migration, sweep.c.wave == wave, sweep.c.finished_at.is_not(None))
    ids = sa.select(sa.func.max(sweep.c.id)).where(*ended).group_by(sweep.c.entity)
    columns = [sweep.c[name] for name in SweepRow.__slots__]
    rows = connection.execute(sa.select(*columns).where(sweep.c.id.in_(ids)))
    return {row.entity: SweepRow(**row._mapping) for row in rows}
