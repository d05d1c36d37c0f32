"""The manifest's tables of where it belongs: its Medplum, its staged files, whose each identifier is."""

from __future__ import annotations

import sqlalchemy as sa

from medferry.manifest.hashes import ContentHash
from medferry.manifest.tables import Time, metadata

home = sa.Table(
    "home",
    metadata,
    sa.Column("migration", sa.String(40), primary_key=True, comment="empty: of the manifest itself"),
    sa.Column("kind", sa.String(20), primary_key=True, comment="manifest, medplum"),
    sa.Column("place", sa.String(500), primary_key=True, comment="base URL"),
    sa.Column("identity", sa.String(64), nullable=False, comment="project id, id of the manifest; empty: not known"),
    sa.Column("since", Time, nullable=False),
    sa.Column("position", sa.BigInteger, comment="of the legacy database when it was last read; null: it tells none"),
    comment="the systems to which the ids and the files that the manifest knows belong",
)

identifier_owner = sa.Table(
    "identifier_owner",
    metadata,
    sa.Column("system", sa.String(300), primary_key=True),
    sa.Column("migration", sa.String(40), nullable=False),
    comment="the one migration that writes resources under an identifier system",
)

entity_key = sa.Table(
    "entity_key",
    metadata,
    sa.Column("migration", sa.String(40), primary_key=True),
    sa.Column("entity", sa.String(40), primary_key=True),
    sa.Column("columns", sa.JSON, nullable=False, comment="of the header, in their order"),
    sa.Column("made_of", sa.JSON, nullable=False, comment="column of a legacy table, for each; null: cannot be told"),
    sa.Column("query", sa.String(64), nullable=False, comment="SHA-256 of the entity's SELECT"),
    sa.Column("since", Time, nullable=False),
    comment="what the keys are made of under which an entity's records were loaded",
)

staged_file = sa.Table(
    "staged_file",
    metadata,
    sa.Column("run_id", sa.String(200), primary_key=True),
    sa.Column("name", sa.String(120), primary_key=True, comment="below the run's folder"),
    sa.Column("digest", ContentHash, nullable=False, comment="SHA-256 of its bytes"),
    comment="what each staged file held when its stage was recorded",
)

purge = sa.Table(
    "purge",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("migration", sa.String(40), nullable=False),
    sa.Column("folder", sa.String(300), nullable=False, comment="of a run's staged files, or of its charts"),
    sa.Column("reason", sa.String(60), nullable=False),
    sa.Column("files", sa.Integer, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("person", sa.String(200), nullable=False, comment="user of the system, or the run at its end"),
    sa.Column("begun_at", Time, nullable=False),
    sa.Column("done_at", Time, comment="null: it came to no end"),
    comment="what was removed of patient data that no run needs any more",
)
