"""How many leaf values a verification has compared. Of the verifications before nobody knows: they have no lines."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "coverage",
        sa.Column("verification_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("entity", sa.String(length=40), nullable=False),
        sa.Column("slot", sa.String(length=40), nullable=False),
        sa.Column("part", sa.String(length=60), nullable=False),
        sa.Column("resources", sa.Integer(), nullable=False),
        sa.Column("by_value", sa.BigInteger(), nullable=False, comment="leaf values compared with the legacy database"),
        sa.Column(
            "by_rule", sa.BigInteger(), nullable=False, comment="… that follow from names, code tables, constants"
        ),
        sa.Column("by_hash", sa.BigInteger(), nullable=False, comment="… known only to be as they were written"),
        sa.PrimaryKeyConstraint("verification_id", "entity", "slot"),
        comment="how much of what is stored a verification has compared",
    )
