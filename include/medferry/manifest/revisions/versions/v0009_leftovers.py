"""Resources that another took the place of are remembered; a verification knows the state in which it began."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "former_target",
        sa.Column("migration", sa.String(40), primary_key=True),
        sa.Column("resource_type", sa.String(40), primary_key=True),
        sa.Column("medplum_id", sa.String(64), primary_key=True),
        sa.Column("system", sa.String(300), nullable=False),
        sa.Column("value", sa.String(200), nullable=False),
        sa.Column("entity", sa.String(40), nullable=False),
        sa.Column("version_id", sa.String(64), nullable=False),
        sa.Column("content_hash", sa.String(64), nullable=False),
        sa.Column("run_id", sa.String(200), nullable=False),
        comment="resources of which another took the place in the crosswalk",
    )
    op.add_column(
        "verification",
        sa.Column("state", sa.String(64), comment="of the subject's records when it began; null: an earlier version"),
    )
