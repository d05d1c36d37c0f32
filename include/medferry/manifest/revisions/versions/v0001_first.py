"""The first manifest: runs, slices, source units, targets, attempts, leases, checks."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "attempt",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("run_id", sa.String(length=200), nullable=False),
        sa.Column("slice_id", sa.String(length=60), nullable=False),
        sa.Column("system", sa.String(length=300), nullable=False),
        sa.Column("value", sa.String(length=200), nullable=False),
        sa.Column("at", sa.String(length=24), nullable=False),
        sa.Column("action", sa.String(length=12), nullable=False, comment="create, update"),
        sa.Column("status", sa.Integer(), nullable=False, comment="HTTP status of the entry; 0 when no answer came"),
        sa.Column(
            "reason", sa.String(length=500), server_default="", nullable=False, comment="issue code and path, no data"
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("attempt_target", "attempt", ["run_id", "system", "value"], unique=False)
    op.create_table(
        "check_result",
        sa.Column("run_id", sa.String(length=200), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("entity", sa.String(length=40), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False, comment="equal, different, could_not_check"),
        sa.Column("compared", sa.Integer(), nullable=False),
        sa.Column("different", sa.Integer(), nullable=False),
        sa.Column("examples", sa.JSON(), nullable=False, comment="at most 20 identifiers or ids"),
        sa.Column("checked_at", sa.String(length=24), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "name", "entity"),
    )
    op.create_table(
        "finding",
        sa.Column("run_id", sa.String(length=200), nullable=False),
        sa.Column("entity", sa.String(length=40), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.String(length=60), nullable=False),
        sa.Column("field", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "entity", "key", "reason", "field"),
    )
    op.create_table(
        "lease",
        sa.Column("migration", sa.String(length=40), nullable=False),
        sa.Column("scope", sa.String(length=120), nullable=False, comment="<unit>/<entity>"),
        sa.Column("run_id", sa.String(length=200), nullable=False),
        sa.Column("expires_at", sa.String(length=24), nullable=False),
        sa.PrimaryKeyConstraint("migration", "scope"),
    )
    op.create_table(
        "outcome",
        sa.Column("run_id", sa.String(length=200), nullable=False),
        sa.Column("system", sa.String(length=300), nullable=False),
        sa.Column("value", sa.String(length=200), nullable=False),
        sa.Column("entity", sa.String(length=40), nullable=False),
        sa.Column("action", sa.String(length=12), nullable=False, comment="created, updated, unchanged"),
        sa.PrimaryKeyConstraint("run_id", "system", "value"),
        comment="what a run did to each target, once proven by read-back",
    )
    op.create_table(
        "run",
        sa.Column("id", sa.String(length=200), nullable=False),
        sa.Column("migration", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=60), nullable=False, comment="big_bang, wave_<id>, verify …"),
        sa.Column("status", sa.String(length=20), nullable=False, comment="running, succeeded, failed"),
        sa.Column("units", sa.JSON(), nullable=False),
        sa.Column("entities", sa.JSON(), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False, comment="SHA-256 of the migration's files"),
        sa.Column("started_at", sa.String(length=24), nullable=False),
        sa.Column("finished_at", sa.String(length=24), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_run_migration"), "run", ["migration"], unique=False)
    op.create_table(
        "source_unit",
        sa.Column("run_id", sa.String(length=200), nullable=False),
        sa.Column("entity", sa.String(length=40), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("unit", sa.String(length=64), nullable=False),
        sa.Column("slice_id", sa.String(length=60), nullable=False),
        sa.Column("disposition", sa.String(length=12), nullable=False),
        sa.Column("reason", sa.String(length=60), server_default="", nullable=False),
        sa.Column("field", sa.String(length=64), server_default="", nullable=False),
        sa.Column(
            "place", sa.String(length=500), server_default="", nullable=False, comment="code or FHIR path, no data"
        ),
        sa.Column("mapping_version", sa.String(length=40), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "entity", "key"),
    )
    op.create_index("source_unit_key", "source_unit", ["entity", "key"], unique=False)
    op.create_index("source_unit_slice", "source_unit", ["run_id", "slice_id", "disposition"], unique=False)
    op.create_table(
        "target",
        sa.Column("migration", sa.String(length=40), nullable=False),
        sa.Column("system", sa.String(length=300), nullable=False),
        sa.Column("value", sa.String(length=200), nullable=False),
        sa.Column("entity", sa.String(length=40), nullable=False),
        sa.Column("resource_type", sa.String(length=40), nullable=False),
        sa.Column("medplum_id", sa.String(length=64), nullable=False),
        sa.Column("version_id", sa.String(length=64), nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("run_id", sa.String(length=200), nullable=False, comment="the run that last wrote or confirmed it"),
        sa.PrimaryKeyConstraint("migration", "system", "value"),
        comment="the crosswalk: source identifier to Medplum id and version",
    )
    op.create_index("target_entity", "target", ["migration", "entity"], unique=False)
    op.create_table(
        "slice",
        sa.Column("run_id", sa.String(length=200), nullable=False),
        sa.Column("id", sa.String(length=60), nullable=False),
        sa.Column("entity", sa.String(length=40), nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("units", sa.JSON(), nullable=False),
        sa.Column("low", sa.JSON(), nullable=False),
        sa.Column("high", sa.JSON(), nullable=False),
        sa.Column("eligible", sa.Integer(), nullable=False, comment="rows counted when the run was prepared"),
        sa.Column("stage", sa.String(length=20), nullable=False, comment="planned, extracted, transformed, loaded"),
        sa.Column("bundles", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "fence", sa.Integer(), server_default="0", nullable=False, comment="grows with each worker that takes it"
        ),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["run.id"],
        ),
        sa.PrimaryKeyConstraint("run_id", "id"),
    )
