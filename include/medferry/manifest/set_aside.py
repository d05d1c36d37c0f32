"""Changes that were cut and not applied, since their entity cannot be read at present: kept until it can, wave by wave.
And, without a problem, records that the next cycle is to take along though their rows are as they were.

They are kept as the journal logged them, in the transaction that moves its position past them: no kill loses one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from medferry.manifest.clock import clock
from medferry.manifest.tables import Time, metadata

set_aside = sa.Table(
    "set_aside",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("migration", sa.String(40), nullable=False),
    sa.Column("wave", sa.String(40), nullable=False),
    sa.Column("entity", sa.String(40), nullable=False),
    sa.Column("via", sa.Text, nullable=False, comment="the table whose columns the key is; empty: a key of the entity"),
    sa.Column("key", sa.Text, comment="as a trigger logged it; null: everything of the entity"),
    sa.Column("problem", sa.String(500), nullable=False, comment="why the entity cannot be read, no data"),
    sa.Column("since", Time, nullable=False),
    sa.Index("set_aside_of_wave", "migration", "wave", "entity"),
    comment="changes that were cut while their entity could not be read",
)

LoggedChange = tuple[str, str, str | None]
"""(entity, table, key text), as the journal has it; None: everything of the entity."""


@dataclass(frozen=True, slots=True)
class EntitySetAside:
    """An entity of a wave that cannot be read: how many changes wait, since when (UTC), and why."""

    entity: str
    changes: int
    since: str
    problem: str


def changes_set_aside(connection: sa.Connection, migration: str, wave: str) -> frozenset[LoggedChange]:
    """All that waits in a wave."""
    columns = (set_aside.c.entity, set_aside.c.via, set_aside.c.key)
    rows = connection.execute(sa.select(*columns).where(*_of(migration, wave)))
    return frozenset((row.entity, row.via, row.key) for row in rows)


def entities_set_aside(connection: sa.Connection, migration: str, wave: str) -> list[EntitySetAside]:
    """The entities of a wave that cannot be read, of which something waits."""
    columns = (set_aside.c.entity, sa.func.count(), sa.func.min(set_aside.c.since), sa.func.max(set_aside.c.problem))
    statement = sa.select(*columns).where(*_of(migration, wave), set_aside.c.problem != "").group_by(set_aside.c.entity)
    return [EntitySetAside(*row) for row in connection.execute(statement.order_by(set_aside.c.entity))]


def set_changes_aside(
    connection: sa.Connection, migration: str, wave: str, entity: str, problem: str, changes: Iterable[LoggedChange]
) -> None:
    """`changes` of an entity wait beside those that do already, all of them for the same problem; empty: for none."""
    of = (*_of(migration, wave), set_aside.c.entity == entity)
    if problem:
        connection.execute(sa.update(set_aside).where(*of).values(problem=problem[:500]))
    new = set(changes) - changes_set_aside(connection, migration, wave)
    place = {"migration": migration, "wave": wave, "entity": entity, "problem": problem[:500]}
    if values := [{**place, "via": via, "key": key} for _, via, key in sorted(new, key=str)]:
        connection.execute(sa.insert(set_aside).values(since=clock(connection)), values)


def take_set_aside(connection: sa.Connection, migration: str, wave: str, but: Collection[str]) -> None:
    """What waited, `but` for some entities, is in a run that is being noted."""
    connection.execute(sa.delete(set_aside).where(*_of(migration, wave), set_aside.c.entity.not_in(list(but))))


def _of(migration: str, wave: str) -> tuple[sa.ColumnElement[bool], ...]:
    return set_aside.c.migration == migration, set_aside.c.wave == wave
