"""The table of the chain of acts: appended to, never changed."""

from __future__ import annotations

import sqlalchemy as sa

from medferry.manifest.tables import Time, metadata

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False, comment="1, 2, 3 … without a gap"),
    sa.Column("at", Time, nullable=False),
    sa.Column("actor", sa.String(200), nullable=False, comment="os:user@machine, airflow:user; empty: not known"),
    sa.Column("act", sa.String(20), nullable=False),
    sa.Column("subject", sa.String(300), nullable=False, comment="decision/<id>, verification/<id>, run/<id> …"),
    sa.Column("digest", sa.String(64), nullable=False, comment="SHA-256 of what the act left behind, or empty"),
    sa.Column("hash", sa.String(64), nullable=False, comment="SHA-256 of this line and of the hash before it"),
    comment="what was done and decided, in a chain: no line can be changed or taken out unseen",
)
