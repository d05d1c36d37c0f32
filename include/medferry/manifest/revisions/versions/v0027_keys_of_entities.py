"""What the keys of entities are made of. Of those that were loaded before, the next run finds it out, or refuses."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    made_of = "column of a legacy table, for each; null: cannot be told"
    op.create_table(
        "entity_key",
        sa.Column("migration", sa.String(40), primary_key=True),
        sa.Column("entity", sa.String(40), primary_key=True),
        sa.Column("columns", sa.JSON(), nullable=False, comment="of the header, in their order"),
        sa.Column("made_of", sa.JSON(), nullable=False, comment=made_of),
        sa.Column("query", sa.String(64), nullable=False, comment="SHA-256 of the entity's SELECT"),
        sa.Column("since", sa.String(24), nullable=False),
        comment="what the keys are made of under which an entity's records were loaded",
    )
