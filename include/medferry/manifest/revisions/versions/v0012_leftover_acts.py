"""What people let be done about resources that nothing makes any more; kinds of differences as long as theirs.

SQLite holds nobody to the length of a column, and would copy the table for another.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_table(
        "leftover_act",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("migration", sa.String(40), nullable=False),
        sa.Column("entity", sa.String(40), nullable=False),
        sa.Column("system", sa.String(300), nullable=False),
        sa.Column(
            "value",
            sa.String(200).with_variant(sa.String(1_000), "postgresql"),
            nullable=False,
            comment="source key",
        ),
        sa.Column("resource_type", sa.String(40), nullable=False),
        sa.Column("medplum_id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(60), nullable=False, comment="why nothing makes it any more"),
        sa.Column("action", sa.String(12), nullable=False, comment="remove, inactivate"),
        sa.Column("person", sa.String(100), nullable=False),
        sa.Column("holder", sa.String(200), nullable=False, comment="the act, as leases name it"),
        sa.Column("version_before", sa.String(64), nullable=False),
        sa.Column("content_hash", sa.String(64), nullable=False, comment="of what is inactivated; empty: removed"),
        sa.Column("version_after", sa.String(64), nullable=False, server_default="", comment="of what was inactivated"),
        sa.Column("noted_at", sa.String(24), nullable=False),
        sa.Column("ended_at", sa.String(24), comment="when it was proven; null: not, or refused"),
        sa.Column("status", sa.Integer, nullable=False, server_default="0", comment="HTTP; 0: no answer came"),
        sa.Index("leftover_act_of", "migration", "resource_type", "medplum_id"),
        comment="what people let be done about resources that nothing makes any more",
    )
    if op.get_context().dialect.name == "postgresql":
        op.alter_column("difference", "kind", type_=sa.String(60))
