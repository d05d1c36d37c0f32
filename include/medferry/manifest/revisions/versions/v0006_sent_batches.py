"""What was sent to Medplum is noted before it is sent. A manifest from before has no notes: its workers are stopped."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    is_open = sa.text("ended_at IS NULL")
    op.create_table(
        "sent_batch",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("migration", sa.String(40), nullable=False),
        sa.Column("run_id", sa.String(200), nullable=False),
        sa.Column("slice_id", sa.String(60), nullable=False),
        sa.Column("entity", sa.String(40), nullable=False),
        sa.Column("entries", sa.JSON, nullable=False, comment="those whose end is not known, in the order of sending"),
        sa.Column("sent_at", sa.String(24), nullable=False, comment="by the database's clock, before it was sent"),
        sa.Column("ended_at", sa.String(24), comment="null: some of it may still arrive"),
        comment="every batch of writes, noted before it is sent",
    )
    op.create_index(
        "sent_batch_open", "sent_batch", ["migration", "entity"], sqlite_where=is_open, postgresql_where=is_open
    )
