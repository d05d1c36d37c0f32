"""The manifest's table of conflicts: which elements of which resource, by whose versions; never a value."""

from __future__ import annotations

import sqlalchemy as sa

from medferry.manifest.hashes import ContentHash
from medferry.manifest.tables import Key, Time, metadata

_LIVE = sa.text("state IN ('open', 'decided')")

conflict = sa.Table(
    "conflict",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("migration", sa.String(40), nullable=False),
    sa.Column("wave", sa.String(40), nullable=False),
    sa.Column("unit", sa.String(64), nullable=False, comment="business unit of the source record"),
    sa.Column("entity", sa.String(40), nullable=False),
    sa.Column("system", sa.String(300), nullable=False, comment="with the key: the name of the resource"),
    sa.Column("key", Key, nullable=False, comment="source key"),
    sa.Column("resource_type", sa.String(40), nullable=False),
    sa.Column("medplum_id", sa.String(64), nullable=False),
    sa.Column("paths", sa.JSON, nullable=False, comment="elements that both sides changed; * is all of it"),
    sa.Column("direction", sa.String(10), nullable=False, comment="forward, reverse: what found it"),
    sa.Column("version_id", sa.String(64), nullable=False, comment="Medplum's; empty: it was deleted there"),
    sa.Column("row_digest", ContentHash, nullable=False, comment="SHA-256 of the row; empty: there was none"),
    sa.Column("legacy_hash", ContentHash, nullable=False, comment="of what the mapping made of the row; empty: no"),
    sa.Column("base_name", sa.String(200), comment="of the kept value; null: it is not certain, or not kept any more"),
    sa.Column("base_digest", ContentHash),
    sa.Column("legacy_name", sa.String(200)),
    sa.Column("legacy_digest", ContentHash),
    sa.Column("medplum_name", sa.String(200)),
    sa.Column("medplum_digest", ContentHash),
    sa.Column("owner", sa.String(100), nullable=False, comment="role that is to decide"),
    sa.Column("due", sa.String(10), nullable=False, comment="day, or empty"),
    sa.Column("state", sa.String(12), nullable=False, comment="open, decided, applied, superseded"),
    sa.Column("found_at", Time, nullable=False),
    sa.Column("changed_at", Time, nullable=False, comment="of the state"),
    sa.Column("applied_version", sa.String(64), comment="Medplum's version in which the decision stands"),
    sa.Index("conflict_live", "migration", "system", "key", unique=True, sqlite_where=_LIVE, postgresql_where=_LIVE),
    sa.Index("conflict_state", "migration", "state", "id"),
    sa.Index("conflict_name", "migration", "system", "key"),
    comment="what both systems changed differently, for a person to decide; the values are kept elsewhere",
)
