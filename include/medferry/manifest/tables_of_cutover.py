"""The manifest's tables of the switch: where each unit is written, the attempts to move it, and their acts."""

from __future__ import annotations

import sqlalchemy as sa

from medferry.manifest.tables import Time, metadata

unit_stage = sa.Table(
    "unit_stage",
    metadata,
    sa.Column("migration", sa.String(40), primary_key=True),
    sa.Column("unit", sa.String(64), primary_key=True),
    sa.Column("stage", sa.String(10), nullable=False, comment="legacy, shadow, closing, closed, medplum, returning"),
    sa.Column("epoch", sa.BigInteger, nullable=False, comment="of the gate in the legacy database"),
    sa.Column("cutover_id", sa.Integer, nullable=False, comment="the attempt that moved it last"),
    sa.Column("since", Time, nullable=False),
    comment="where each unit is written: a memo, of which the gates are the truth",
)

cutover = sa.Table(
    "cutover",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("migration", sa.String(40), nullable=False),
    sa.Column("wave", sa.String(40), nullable=False),
    sa.Column("direction", sa.String(10), nullable=False, comment="prepare, forth, back"),
    sa.Column("state", sa.String(12), nullable=False, comment="running, done, backed_out"),
    sa.Column("units", sa.JSON, nullable=False),
    sa.Column("person", sa.String(200), nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False, comment="of the policies in Medplum, from its closing on"),
    sa.Column("notes", sa.JSON, nullable=False, comment="what its acts have to know of each other, no data"),
    sa.Column("begun_at", Time, nullable=False),
    sa.Column("ended_at", Time),
    sa.Index("cutover_newest", "migration", "wave", "id"),
    comment="attempts to move the units of a wave from one system to the other",
)

cutover_act = sa.Table(
    "cutover_act",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("cutover_id", sa.Integer, sa.ForeignKey("cutover.id"), nullable=False),
    sa.Column("act", sa.String(20), nullable=False),
    sa.Column("person", sa.String(200), nullable=False),
    sa.Column("begun_at", Time, nullable=False),
    sa.Column("ended_at", Time, comment="null: it came to no end"),
    sa.Column("failed", sa.Boolean, nullable=False),
    sa.Column("told", sa.String(500), nullable=False, comment="its evidence, or why it failed, no data"),
    sa.Index("cutover_act_of", "cutover_id", "id"),
    comment="what each attempt did, noted before and after",
)
