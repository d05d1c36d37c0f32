"""The manifest knows its legacy database, and how far that had come when it was last read.

A manifest from before takes the first one that it meets on trust.
"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    position = "of the legacy database when it was last read; null: it tells none"
    op.add_column("home", sa.Column("position", sa.BigInteger, comment=position))
