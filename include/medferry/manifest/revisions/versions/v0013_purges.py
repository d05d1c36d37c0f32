"""What was removed of staged files and charts; of what was removed before, by hand, nobody knows."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.create_table(
        "purge",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("migration", sa.String(length=40), nullable=False),
        sa.Column("folder", sa.String(length=300), nullable=False, comment="of a run's staged files, or of its charts"),
        sa.Column("reason", sa.String(length=60), nullable=False),
        sa.Column("files", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("person", sa.String(length=200), nullable=False, comment="user of the system, or the run at its end"),
        sa.Column("begun_at", sa.String(length=24), nullable=False),
        sa.Column("done_at", sa.String(length=24), nullable=True, comment="null: it came to no end"),
        sa.PrimaryKeyConstraint("id"),
        comment="what was removed of patient data that no run needs any more",
    )
