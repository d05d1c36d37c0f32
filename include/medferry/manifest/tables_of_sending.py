"""The manifest's table of what was sent to Medplum."""

from __future__ import annotations

import sqlalchemy as sa

from medferry.manifest.hashes import LinesWithHashes
from medferry.manifest.tables import Time, metadata

_OPEN = sa.text("ended_at IS NULL")

sent_batch = sa.Table(
    "sent_batch",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("migration", sa.String(40), nullable=False),
    sa.Column("run_id", sa.String(200), nullable=False),
    sa.Column("slice_id", sa.String(60), nullable=False),
    sa.Column("entity", sa.String(40), nullable=False),
    sa.Column(
        "entries",
        LinesWithHashes(4, 7),
        nullable=False,
        comment="those whose end is not known, in the order of sending",
    ),
    sa.Column("sent_at", Time, nullable=False, comment="by the database's clock, before it was sent"),
    sa.Column("ended_at", Time, comment="null: some of it may still arrive"),
    sa.Column("settle_seconds", sa.Float, comment="by the sender's settings; null: not known"),
    sa.Column("server_at", Time, comment="sent_at by Medplum's own clock; null: not known"),
    sa.Index("sent_batch_open", "migration", "entity", sqlite_where=_OPEN, postgresql_where=_OPEN),
    comment="every batch of writes, noted before it is sent",
)
