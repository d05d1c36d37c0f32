"""Rows for what users created in Medplum. A manifest of before has none that was begun."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    op.create_table(
        "birth",
        sa.Column("migration", sa.String(40), primary_key=True),
        sa.Column("resource_type", sa.String(64), primary_key=True),
        sa.Column("medplum_id", sa.String(64), primary_key=True),
        sa.Column("entity", sa.String(40), nullable=False),
        sa.Column("slot", sa.String(40), nullable=False, comment="of the mapping"),
        sa.Column("wave", sa.String(40), nullable=False),
        sa.Column("unit", sa.String(64), nullable=False),
        sa.Column("version_id", sa.String(64), nullable=False, comment="of which the row is made"),
        sa.Column("content_hash", sa.String(64), nullable=False, comment="SHA-256 of that version"),
        sa.Column("noted_at", sa.String(24), nullable=False),
        comment="rows that are about to be inserted for resources that users created",
    )
