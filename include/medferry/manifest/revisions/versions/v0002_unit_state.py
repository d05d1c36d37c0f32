"""What is true of each source record now (`unit_state`), beside the ledger that says what each run made of it.

The newest line of a real run that decided a record becomes its state. A row's digest is not known of these lines.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_run = sa.table("run", *map(sa.column, ("id", "migration", "fingerprint", "started_at", "finished_at")))
_dry = sa.column("options", sa.JSON)["dry_run"].as_boolean()
_line = sa.table(
    "source_unit",
    *map(sa.column, ("run_id", "entity", "key", "unit", "disposition", "reason", "mapping_version")),
)


def upgrade() -> None:
    op.alter_column("run", "wish", new_column_name="control")
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("run", "control", comment="an operator's: pause, abort")
    op.drop_index("ix_run_migration", "run")
    op.create_index("run_newest", "run", ["migration", "started_at", "id"])
    op.add_column("source_unit", _text("source_digest", "SHA-256 of the row as read"))
    op.add_column("source_unit", _text("fingerprint", "of what mapped it"))
    _create_unit_state()
    _fill_unit_state()


def _text(name: str, comment: str) -> sa.Column[str]:
    return sa.Column(name, sa.String(length=64), server_default="", nullable=False, comment=comment)


def _create_unit_state() -> None:
    op.create_table(
        "unit_state",
        sa.Column("migration", sa.String(length=40), nullable=False),
        sa.Column("entity", sa.String(length=40), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("unit", sa.String(length=64), nullable=False),
        sa.Column("disposition", sa.String(length=12), nullable=False),
        sa.Column("reason", sa.String(length=60), nullable=False),
        sa.Column(
            "source_digest",
            sa.String(length=64),
            nullable=False,
            comment="SHA-256 of the row as read; empty: unknown",
        ),
        sa.Column("mapping_version", sa.String(length=40), nullable=False),
        sa.Column(
            "fingerprint",
            sa.String(length=64),
            nullable=False,
            comment="of what mapped it: its own, else the run's",
        ),
        sa.Column(
            "run_id", sa.String(length=200), nullable=False, comment="the run that decided last; never a dry run"
        ),
        sa.Column("decided_at", sa.String(length=24), nullable=False),
        sa.PrimaryKeyConstraint("migration", "entity", "key"),
        sqlite_with_rowid=False,
        comment="what is true of each source record now, whichever run decided it",
    )
    op.create_index("unit_state_disposition", "unit_state", ["migration", "entity", "disposition"])
    op.create_index("unit_state_unit", "unit_state", ["migration", "unit", "entity", "key"])


def _fill_unit_state() -> None:
    """The newest decided line of each record; when the run ended is the nearest to when it was decided."""
    newest_first = (_run.c.started_at.desc(), _run.c.id.desc())
    record = (_run.c.migration, _line.c.entity, _line.c.key)
    decided = (
        sa.select(
            *record,
            *(_line.c[name] for name in ("unit", "disposition", "reason", "mapping_version", "run_id")),
            _run.c.fingerprint,
            sa.func.coalesce(_run.c.finished_at, _run.c.started_at).label("decided_at"),
            sa.func.row_number().over(partition_by=record, order_by=newest_first).label("age"),
        )
        .join(_run, _run.c.id == _line.c.run_id)
        .where(_line.c.disposition != "pending", _dry.is_not(True))
        .subquery()
    )
    copied = ("migration", "entity", "key", "unit", "disposition", "reason", "mapping_version", "run_id")
    names = (*copied, "fingerprint", "decided_at")
    columns = [*(decided.c[name] for name in names), sa.literal("")]
    into = sa.table("unit_state", *map(sa.column, (*names, "source_digest")))
    newest = sa.select(*columns).where(decided.c.age == 1)
    op.execute(sa.insert(into).from_select([*names, "source_digest"], newest))
