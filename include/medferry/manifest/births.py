"""Rows that are about to be inserted for what users created in Medplum: noted before, closed when both sides know.

As long as a note is open, the row of that resource may be there while Medplum's resource lacks its identifier: nobody
may create another one for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from medferry.manifest.clock import clock
from medferry.manifest.hashes import ContentHash
from medferry.manifest.tables import Time, metadata

birth = sa.Table(
    "birth",
    metadata,
    sa.Column("migration", sa.String(40), primary_key=True),
    sa.Column("resource_type", sa.String(64), primary_key=True),
    sa.Column("medplum_id", sa.String(64), primary_key=True),
    sa.Column("entity", sa.String(40), nullable=False),
    sa.Column("slot", sa.String(40), nullable=False, comment="of the mapping"),
    sa.Column("wave", sa.String(40), nullable=False),
    sa.Column("unit", sa.String(64), nullable=False),
    sa.Column("version_id", sa.String(64), nullable=False, comment="of which the row is made"),
    sa.Column("content_hash", ContentHash, nullable=False, comment="SHA-256 of that version"),
    sa.Column("noted_at", Time, nullable=False),
    comment="rows that are about to be inserted for resources that users created",
)


@dataclass(frozen=True, slots=True)
class NotedBirth:
    """A resource whose row is about to be inserted."""

    resource_type: str
    medplum_id: str
    entity: str
    slot: str
    wave: str
    unit: str
    version_id: str
    content_hash: str

    @property
    def place(self) -> tuple[str, str]:
        return self.resource_type, self.medplum_id


_COLUMNS = [birth.c[name] for name in NotedBirth.__slots__]


def note_birth(connection: sa.Connection, migration: str, note: NotedBirth) -> None:
    """To be committed before the row is inserted."""
    close_birth(connection, migration, note.place)
    values = {name: getattr(note, name) for name in NotedBirth.__slots__}
    connection.execute(sa.insert(birth).values(migration=migration, noted_at=clock(connection), **values))


def open_births(
    connection: sa.Connection, migration: str, wave: str | None = None, entity: str | None = None
) -> list[NotedBirth]:
    """Those of a wave, of an entity, or all, whose resources may lack their identifiers; the oldest first."""
    statement = sa.select(*_COLUMNS).where(birth.c.migration == migration)
    if wave is not None:
        statement = statement.where(birth.c.wave == wave)
    if entity is not None:
        statement = statement.where(birth.c.entity == entity)
    statement = statement.order_by(birth.c.noted_at, birth.c.resource_type, birth.c.medplum_id)
    return [NotedBirth(*row) for row in connection.execute(statement)]


def close_birth(connection: sa.Connection, migration: str, place: tuple[str, str]) -> None:
    """Both sides know of it, or nothing was inserted."""
    of = (birth.c.migration == migration, birth.c.resource_type == place[0], birth.c.medplum_id == place[1])
    connection.execute(sa.delete(birth).where(*of))
