"""The manifest's table of documents that were uploaded as a Binary."""

from __future__ import annotations

import sqlalchemy as sa

from medferry.manifest.hashes import ContentHash
from medferry.manifest.tables import Key, Time, metadata

upload = sa.Table(
    "upload",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("migration", sa.String(40), nullable=False),
    sa.Column("run_id", sa.String(200), nullable=False),
    sa.Column("entity", sa.String(40), nullable=False),
    sa.Column("system", sa.String(300), nullable=False, comment="with value: the resource that refers to it"),
    sa.Column("value", Key, nullable=False),
    sa.Column("digest", ContentHash, nullable=False, comment="SHA-256 of the document's bytes"),
    sa.Column("state", sa.String(10), nullable=False, comment="sent, stored, proven, refused"),
    sa.Column("medplum_id", sa.String(64), nullable=False, comment="of the Binary; empty: no answer told it"),
    sa.Column("sent_at", Time, nullable=False, comment="by the database's clock, before it was sent"),
    sa.Index("upload_of", "migration", "system", "value"),
    sa.Index("upload_state", "migration", "state"),
    comment="every document that was sent as a Binary, noted before it is sent",
)
