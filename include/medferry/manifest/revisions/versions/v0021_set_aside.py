"""Changes that wait for their entity to be readable. Before there was this table, such an entity stopped its wave."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.create_table(
        "set_aside",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("migration", sa.String(40), nullable=False),
        sa.Column("wave", sa.String(40), nullable=False),
        sa.Column("entity", sa.String(40), nullable=False),
        sa.Column(
            "via", sa.Text(), nullable=False, comment="the table whose columns the key is; empty: a key of the entity"
        ),
        sa.Column("key", sa.Text(), comment="as a trigger logged it; null: everything of the entity"),
        sa.Column("problem", sa.String(500), nullable=False, comment="why the entity cannot be read, no data"),
        sa.Column("since", sa.String(24), nullable=False),
        comment="changes that were cut while their entity could not be read",
    )
    op.create_index("set_aside_of_wave", "set_aside", ["migration", "wave", "entity"])
