"""The business units that a cut was made for. Of cuts from before nothing is known."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    what = "business units of the wave for which it was made; null: not known"
    op.add_column("checkpoint", sa.Column("units", sa.JSON, comment=what))
