"""What is written back into the legacy database, and what is not. A manifest of before has written nothing back."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"

Key = sa.String(200).with_variant(sa.String(1_000), "postgresql")


def upgrade() -> None:
    op.create_table(
        "write_back",
        sa.Column("migration", sa.String(40), primary_key=True),
        sa.Column("entity", sa.String(40), primary_key=True),
        sa.Column("key", Key, primary_key=True),
        sa.Column("wave", sa.String(40), nullable=False),
        sa.Column("unit", sa.String(64), nullable=False),
        sa.Column("run_id", sa.String(200), nullable=False),
        sa.Column(
            "expected", sa.String(64), nullable=False, comment="SHA-256 of the row as it is to read, but for times"
        ),
        sa.Column("in_step", sa.Boolean(), nullable=False, comment="that row and the resources then say the same"),
        sa.Column("bases", sa.JSON(), nullable=False, comment="of each resource: name, id, versions, hashes"),
        sa.Column("noted_at", sa.String(24), nullable=False),
        comment="rows that are about to be written into the legacy database",
    )
    op.create_table(
        "held_back",
        sa.Column("migration", sa.String(40), primary_key=True),
        sa.Column("entity", sa.String(40), primary_key=True),
        sa.Column("key", Key, primary_key=True, comment="source key; of what has none, Type/id"),
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("unit", sa.String(64), nullable=False),
        sa.Column("slot", sa.String(40), nullable=False, comment="of the mapping; empty: of the whole row"),
        sa.Column("path", sa.String(500), nullable=False, comment="FHIR path, no data"),
        sa.Column("reason", sa.String(60), nullable=False),
        sa.Column(
            "detail", sa.String(500), nullable=False, comment="a column, a code table or a place in code, no data"
        ),
        sa.Column("place", sa.String(120), nullable=False, comment="Type/id in Medplum"),
        sa.Column("fingerprint", sa.String(64), nullable=False, comment="of the migration that could not express it"),
        sa.Column("at", sa.String(24), nullable=False),
        comment="what users did in Medplum and the legacy database does not have",
    )
