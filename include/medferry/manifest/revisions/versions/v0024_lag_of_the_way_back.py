"""How long edits in Medplum took until their rows were written. Of those from before nothing is known."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    what = "seconds until its newest edits were written back"
    op.add_column("feed", sa.Column("lags", sa.JSON(), nullable=False, server_default="[]", comment=what))
