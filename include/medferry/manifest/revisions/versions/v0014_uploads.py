"""Documents that are uploaded as a Binary. A manifest from before has uploaded none."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    key = sa.String(200).with_variant(sa.String(1_000), "postgresql")
    op.create_table(
        "upload",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("migration", sa.String(40), nullable=False),
        sa.Column("run_id", sa.String(200), nullable=False),
        sa.Column("entity", sa.String(40), nullable=False),
        sa.Column("system", sa.String(300), nullable=False, comment="with value: the resource that refers to it"),
        sa.Column("value", key, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False, comment="SHA-256 of the document's bytes"),
        sa.Column("state", sa.String(10), nullable=False, comment="sent, stored, proven, refused"),
        sa.Column("medplum_id", sa.String(64), nullable=False, comment="of the Binary; empty: no answer told it"),
        sa.Column("sent_at", sa.String(24), nullable=False, comment="by the database's clock, before it was sent"),
        comment="every document that was sent as a Binary, noted before it is sent",
    )
    op.create_index("upload_of", "upload", ["migration", "system", "value"])
    op.create_index("upload_state", "upload", ["migration", "state"])
