"""Source keys of up to 1,000 bytes. SQLite holds nobody to the length of a column, so there is nothing to do in it."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_KEYS = (
    ("source_unit", "key"),
    ("unit_state", "key"),
    ("finding", "key"),
    ("target", "value"),
    ("outcome", "value"),
    ("attempt", "value"),
    ("difference", "key"),
    ("chart", "key"),
    ("former_target", "value"),
)


def upgrade() -> None:
    if op.get_context().dialect.name != "postgresql":
        return
    for table, column in _KEYS:
        op.alter_column(table, column, type_=sa.String(1_000))
    op.alter_column("decision", "subject", type_=sa.String(1_300))
