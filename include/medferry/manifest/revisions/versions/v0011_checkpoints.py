"""Cuts of the legacy database's journal of changes, and sweeps. A manifest of before has none: its waves are swept."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_table(
        "checkpoint",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("migration", sa.String(40), nullable=False),
        sa.Column("wave", sa.String(40), nullable=False),
        sa.Column("method", sa.String(10), nullable=False, comment="log, sweep"),
        sa.Column("position_from", sa.Text(), nullable=False, comment="of the journal; empty: a sweep began here"),
        sa.Column("position_to", sa.Text(), nullable=False, comment="of the journal, opaque"),
        sa.Column("interval_from", sa.String(40), nullable=False, comment="of the scheduled run; empty: of none"),
        sa.Column("interval_to", sa.String(40), nullable=False),
        sa.Column("state", sa.String(10), nullable=False, comment="recorded, applied"),
        sa.Column("run_id", sa.String(200), nullable=False, comment="the run that applies it; empty: there was no key"),
        sa.Column("records", sa.Integer(), nullable=False, comment="source records of the run"),
        sa.Column("cycles", sa.Integer(), nullable=False, comment="1, and the cuts without a key since"),
        sa.Column("ages", sa.JSON(), nullable=False, comment="entity to age of its changes in seconds to their number"),
        sa.Column("cut_at", sa.String(24), nullable=False),
        sa.Column("applied_at", sa.String(24)),
        comment="cuts of the journal that a wave has taken, each noted before work",
    )
    op.create_index("checkpoint_newest", "checkpoint", ["migration", "wave", "id"])
    op.create_table(
        "sweep",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("migration", sa.String(40), nullable=False),
        sa.Column("wave", sa.String(40), nullable=False),
        sa.Column("entity", sa.String(40), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False, comment="looked at"),
        sa.Column(
            "missed", sa.BigInteger(), nullable=False, comment="differing, with no change of them in the journal"
        ),
        sa.Column("complete", sa.Boolean(), nullable=False, comment="false: stopped, or it died"),
        sa.Column("stop", sa.Boolean(), nullable=False, comment="an operator's"),
        sa.Column("started_at", sa.String(24), nullable=False),
        sa.Column("finished_at", sa.String(24)),
        comment="comparisons of all rows of an entity with what was applied",
    )
    op.create_index("sweep_newest", "sweep", ["migration", "wave", "entity", "id"])
