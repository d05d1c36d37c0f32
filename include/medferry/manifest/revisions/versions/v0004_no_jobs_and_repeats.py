"""No asynchronous jobs, and no slices that repeat: records are compared one by one (``unit_state.source_digest``)."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.drop_table("job")
    op.drop_column("slice", "digest")
    op.drop_column("slice", "repeats")
