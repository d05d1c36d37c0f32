"""How long a batch may be at work by its sender's settings, and when it was sent by Medplum's clock."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.add_column(
        "sent_batch", sa.Column("settle_seconds", sa.Float, comment="by the sender's settings; null: not known")
    )
    of_server = "sent_at by Medplum's own clock; null: not known"
    op.add_column("sent_batch", sa.Column("server_at", sa.String(24), comment=of_server))
