"""How far the changes in Medplum were read. A manifest of before has read none."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.create_table(
        "feed",
        sa.Column("migration", sa.String(40), primary_key=True),
        sa.Column("wave", sa.String(40), primary_key=True),
        sa.Column("resource_type", sa.String(40), primary_key=True),
        sa.Column("kind", sa.String(10), primary_key=True, comment="poll, sweep, walk"),
        sa.Column("position", sa.Text(), nullable=False, comment="opaque; empty: at the beginning"),
        sa.Column("step", sa.BigInteger(), nullable=False, comment="how often it has moved on"),
        sa.Column("passes", sa.BigInteger(), nullable=False, comment="how often it came to an end"),
        sa.Column("moved_at", sa.String(24), nullable=False),
        sa.Column("passed_at", sa.String(24), comment="when it last came to an end"),
        comment="how far the changes that users make in Medplum were read",
    )
