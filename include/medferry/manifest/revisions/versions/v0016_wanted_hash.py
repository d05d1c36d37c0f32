"""What a mapping made, where Medplum has more: nothing was merged before, so it was the same."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    of_made = "of what the mapping made; null: the same as content_hash"
    op.add_column("target", sa.Column("wanted_hash", sa.String(64), comment=of_made))
