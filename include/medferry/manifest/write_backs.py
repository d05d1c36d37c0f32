"""What is about to be written into the legacy database, and what is known of both sides once it is: noted before it is.

A note says which bases hold when the row reads as expected. It is closed in the transaction that takes them over; one
that a killed cycle has left is looked at before anything else is done about its record.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from medferry.manifest.bulk import forget
from medferry.manifest.clock import clock
from medferry.manifest.hashes import ContentHash, LinesWithHashes
from medferry.manifest.tables import Key, Time, metadata

write_back = sa.Table(
    "write_back",
    metadata,
    sa.Column("migration", sa.String(40), primary_key=True),
    sa.Column("entity", sa.String(40), primary_key=True),
    sa.Column("key", Key, primary_key=True),
    sa.Column("wave", sa.String(40), nullable=False),
    sa.Column("unit", sa.String(64), nullable=False),
    sa.Column("run_id", sa.String(200), nullable=False),
    sa.Column("expected", ContentHash, nullable=False, comment="SHA-256 of the row as it is to read, but for times"),
    sa.Column("in_step", sa.Boolean, nullable=False, comment="that row and the resources then say the same"),
    sa.Column("bases", LinesWithHashes(6, 7), nullable=False, comment="of each resource: name, id, versions, hashes"),
    sa.Column("noted_at", Time, nullable=False),
    comment="rows that are about to be written into the legacy database",
)


@dataclass(frozen=True, slots=True)
class NewBase:
    """The version of a resource that the row answers for once it is written; `known_version` is that of before."""

    system: str
    value: str
    resource_type: str
    medplum_id: str
    known_version: str
    version_id: str
    content_hash: str
    wanted_hash: str | None

    @property
    def name(self) -> tuple[str, str]:
        return self.system, self.value


@dataclass(frozen=True, slots=True)
class WriteBack:
    """A row that is about to be written."""

    entity: str
    key: str
    wave: str
    unit: str
    run_id: str
    expected: str
    in_step: bool
    bases: tuple[NewBase, ...]


def note_write_backs(connection: sa.Connection, migration: str, notes: Sequence[WriteBack]) -> None:
    """Note them; to be committed before the first is written."""
    values = [
        {
            **{name: getattr(one, name) for name in WriteBack.__slots__ if name != "bases"},
            "migration": migration,
            "bases": [[getattr(base, name) for name in NewBase.__slots__] for base in one.bases],
        }
        for one in notes
    ]
    close_write_backs(connection, migration, [(one.entity, one.key) for one in notes])  # a shared unit has many waves
    if values:
        connection.execute(sa.insert(write_back).values(noted_at=clock(connection)), values)


def open_write_backs(connection: sa.Connection, migration: str, wave: str) -> list[WriteBack]:
    """Those of a wave of which the end is not known."""
    of = (write_back.c.migration == migration, write_back.c.wave == wave)
    columns = [write_back.c[name] for name in WriteBack.__slots__]
    statement = sa.select(*columns).where(*of).order_by(write_back.c.entity, write_back.c.key)
    found = [row._mapping for row in connection.execute(statement)]
    return [WriteBack(**{**one, "bases": tuple(NewBase(*base) for base in one["bases"])}) for one in found]


def close_write_backs(connection: sa.Connection, migration: str, ended: Collection[tuple[str, str]]) -> None:
    """Close the notes of some (entity, key)."""
    forget(connection, write_back, migration, ended)
