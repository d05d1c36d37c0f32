"""The manifest knows its Medplum, its staging area, its staged files and whose each identifier system is.

A manifest from before takes the first Medplum and staging area that it meets on trust.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "home",
        sa.Column("migration", sa.String(40), primary_key=True, comment="empty: of the manifest itself"),
        sa.Column("kind", sa.String(20), primary_key=True, comment="manifest, medplum"),
        sa.Column("place", sa.String(500), primary_key=True, comment="base URL"),
        sa.Column(
            "identity", sa.String(64), nullable=False, comment="project id, id of the manifest; empty: not known"
        ),
        sa.Column("since", sa.String(24), nullable=False),
        comment="the systems to which the ids and the files that the manifest knows belong",
    )
    op.create_table(
        "identifier_owner",
        sa.Column("system", sa.String(300), primary_key=True),
        sa.Column("migration", sa.String(40), nullable=False),
        comment="the one migration that writes resources under an identifier system",
    )
    op.create_table(
        "staged_file",
        sa.Column("run_id", sa.String(200), primary_key=True),
        sa.Column("name", sa.String(120), primary_key=True, comment="below the run's folder"),
        sa.Column("digest", sa.String(64), nullable=False, comment="SHA-256 of its bytes"),
        comment="what each staged file held when its stage was recorded",
    )
    op.execute(
        "INSERT INTO identifier_owner (system, migration) SELECT system, MIN(migration) FROM target GROUP BY system"
    )
