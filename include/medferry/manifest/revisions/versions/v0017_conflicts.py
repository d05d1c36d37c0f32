"""Conflicts. A manifest of before has none: what conflicted was set aside as target-changed, and is found again."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    key = sa.String(200).with_variant(sa.String(1_000), "postgresql")
    live = sa.text("state IN ('open', 'decided')")
    op.create_table(
        "conflict",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("migration", sa.String(40), nullable=False),
        sa.Column("wave", sa.String(40), nullable=False),
        sa.Column("unit", sa.String(64), nullable=False, comment="business unit of the source record"),
        sa.Column("entity", sa.String(40), nullable=False),
        sa.Column("system", sa.String(300), nullable=False, comment="with the key: the name of the resource"),
        sa.Column("key", key, nullable=False, comment="source key"),
        sa.Column("resource_type", sa.String(40), nullable=False),
        sa.Column("medplum_id", sa.String(64), nullable=False),
        sa.Column("paths", sa.JSON(), nullable=False, comment="elements that both sides changed; * is all of it"),
        sa.Column("direction", sa.String(10), nullable=False, comment="forward, reverse: what found it"),
        sa.Column("version_id", sa.String(64), nullable=False, comment="Medplum's; empty: it was deleted there"),
        sa.Column("row_digest", sa.String(64), nullable=False, comment="SHA-256 of the row; empty: there was none"),
        sa.Column(
            "legacy_hash", sa.String(64), nullable=False, comment="of what the mapping made of the row; empty: no"
        ),
        sa.Column(
            "base_name", sa.String(200), comment="of the kept value; null: it is not certain, or not kept any more"
        ),
        sa.Column("base_digest", sa.String(64)),
        sa.Column("legacy_name", sa.String(200)),
        sa.Column("legacy_digest", sa.String(64)),
        sa.Column("medplum_name", sa.String(200)),
        sa.Column("medplum_digest", sa.String(64)),
        sa.Column("owner", sa.String(100), nullable=False, comment="role that is to decide"),
        sa.Column("due", sa.String(10), nullable=False, comment="day, or empty"),
        sa.Column("state", sa.String(12), nullable=False, comment="open, decided, applied, superseded"),
        sa.Column("found_at", sa.String(24), nullable=False),
        sa.Column("changed_at", sa.String(24), nullable=False, comment="of the state"),
        sa.Column("applied_version", sa.String(64), comment="Medplum's version in which the decision stands"),
        comment="what both systems changed differently, for a person to decide; the values are kept elsewhere",
    )
    op.create_index(
        "conflict_live",
        "conflict",
        ["migration", "system", "key"],
        unique=True,
        sqlite_where=live,
        postgresql_where=live,
    )
    op.create_index("conflict_state", "conflict", ["migration", "state", "id"])
    op.create_index("conflict_name", "conflict", ["migration", "system", "key"])
