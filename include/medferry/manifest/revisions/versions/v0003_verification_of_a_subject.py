"""A verification has an id and a subject of its own: its parts, results and differences hang on that, not on a run.

The verification of each run is kept. What its checks' SQL and FHIRPath were is not known of these.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_COPIED = {
    "verified_part": ("part", "started_at", "finished_at", "resources", "points"),
    "check_result": (
        "name",
        "entity",
        "part",
        "status",
        "compared",
        "different",
        "unchecked",
        "examples",
        "note",
        "checked_at",
    ),
    "difference": ("part", "name", "entity", "key", "field", "kind", "place"),
    "period_account": ("entity", "unit", "period", "disposition", "rows"),
}
"""Table → its columns but for the one that says of which verification a line is."""


def upgrade() -> None:
    op.drop_index("difference_part", "difference")
    op.drop_index("difference_key", "difference")
    for name in ("verification", *_COPIED):
        op.rename_table(name, f"{name}_by_run")
    _create_verification()
    _create_parts_and_results()
    _create_differences_and_periods()
    _copy()
    for name in ("verification", *_COPIED):
        op.drop_table(f"{name}_by_run")
    _let_exceptions_be_of_a_verification()


def _text(name: str, length: int, comment: str | None = None, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(length=length), nullable=nullable, comment=comment)


def _number(name: str, comment: str | None = None) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=False, comment=comment)


def _of_verification() -> sa.Column[int]:
    return sa.Column("verification_id", sa.Integer(), autoincrement=False, nullable=False)


def _create_verification() -> None:
    op.create_table(
        "verification",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        _text("migration", 40),
        _text("run_id", 200, "null: of a subject as it is now, not of a run", nullable=True),
        sa.Column(
            "subject", sa.JSON(), nullable=False, comment="units, entities, keys by entity; what is empty means all"
        ),
        sa.Column("sample_share", sa.Float(), nullable=False, comment="share of the rows whose values were compared"),
        _number("seed"),
        sa.Column("validate_all", sa.Boolean(), server_default=sa.false(), nullable=False),
        _text("fingerprint", 64, "SHA-256 of the migration's files then"),
        sa.Column(
            "declared",
            sa.JSON(),
            nullable=False,
            comment="SQL and FHIRPath of each entity's checks as they were run",
        ),
        _text("started_at", 24),
        _text("finished_at", 24, "null: it is at work, or it died; its results do not count yet", nullable=True),
        sa.PrimaryKeyConstraint("id"),
        comment="the newest verification of each run, and every one of a subject",
    )
    op.create_index("verification_run", "verification", ["run_id"], unique=True)
    op.create_index("verification_subject", "verification", ["migration", "finished_at"])


def _create_parts_and_results() -> None:
    op.create_table(
        "verified_part",
        _of_verification(),
        _text("part", 60, "source/<entity>, stored/<entity>, run, all"),
        _text("started_at", 24),
        _text("finished_at", 24),
        _number("resources", "read from Medplum"),
        _number("points", "of Medplum's quota"),
        sa.PrimaryKeyConstraint("verification_id", "part"),
        comment="parts that a verification has finished: it goes on behind them",
    )
    op.create_table(
        "check_result",
        _of_verification(),
        _text("name", 80),
        _text("entity", 40),
        _text("part", 60),
        _text("status", 20, "equal, different, could_not_check"),
        _number("compared"),
        _number("different"),
        _number("unchecked"),
        sa.Column("examples", sa.JSON(), nullable=False, comment="at most 20 identifiers or ids"),
        _text("note", 500, "error bound of a sample, cause of what is unchecked"),
        _text("checked_at", 24),
        sa.PrimaryKeyConstraint("verification_id", "name", "entity"),
    )


def _create_differences_and_periods() -> None:
    op.create_table(
        "difference",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        _number("verification_id"),
        _text("part", 60),
        _text("name", 80, "of the check"),
        _text("entity", 40),
        _text("key", 200, "source key, or what stands in its place"),
        _text("field", 200, "column, element or unit; no data"),
        _text("kind", 40, "missing, unexpected, different, precision …"),
        _text("place", 120, "Type/id in Medplum"),
        sa.PrimaryKeyConstraint("id"),
        comment="every single difference that a verification found",
    )
    op.create_index("difference_part", "difference", ["verification_id", "part"])
    op.create_index("difference_key", "difference", ["verification_id", "entity", "key"])
    op.create_table(
        "period_account",
        _of_verification(),
        _text("entity", 40),
        _text("unit", 64),
        _text("period", 10, "year; empty: the row has none"),
        _text("disposition", 12, "of the manifest; missing: it has no line"),
        _number("rows", "rows of the legacy database, counted anew"),
        sa.PrimaryKeyConstraint("verification_id", "entity", "unit", "period", "disposition"),
        comment="what became of the legacy database's rows, by the verification's own reading",
    )


def _copy() -> None:
    kept = ("run_id", "started_at", "finished_at", "sample_share", "seed", "fingerprint")
    old = sa.table("verification_by_run", *map(sa.column, kept))
    run = sa.table(
        "run", sa.column("id"), sa.column("migration"), sa.column("units", sa.JSON), sa.column("entities", sa.JSON)
    )
    new = sa.table(
        "verification",
        *map(sa.column, ("id", "migration", *kept)),
        sa.column("subject", sa.JSON),
        sa.column("declared", sa.JSON),
    )
    connection = op.get_bind()
    statement = sa.select(old, run.c.migration, run.c.units, run.c.entities).join(run, run.c.id == old.c.run_id)
    rows = [dict(row) for row in connection.execute(statement.order_by(old.c.started_at)).mappings()]
    for row in rows:
        row["subject"] = {"units": row.pop("units"), "entities": row.pop("entities"), "keys": {}}
        connection.execute(sa.insert(new), [{**row, "declared": {}}])
    for name, columns in _COPIED.items():
        by_run = sa.table(f"{name}_by_run", *map(sa.column, ("run_id", "id", *columns)))
        into = sa.table(name, *map(sa.column, ("verification_id", *columns)))
        lines = sa.select(new.c.id, *(by_run.c[column] for column in columns))
        lines = lines.join(new, new.c.run_id == by_run.c.run_id)
        if name == "difference":
            lines = lines.order_by(by_run.c.id)
        connection.execute(sa.insert(into).from_select(["verification_id", *columns], lines))


def _let_exceptions_be_of_a_verification() -> None:
    of_run = "null: of a verification that is of no run"
    of_verification = "null: of a run, whichever of its verifications found it"
    with op.batch_alter_table("exception") as batch:
        batch.alter_column("run_id", existing_type=sa.String(length=200), nullable=True, comment=of_run)
        batch.add_column(sa.Column("verification_id", sa.Integer(), nullable=True, comment=of_verification))
        batch.create_unique_constraint("exception_of_verification", ["verification_id", "family", "entity"])
    if op.get_bind().dialect.name == "postgresql":
        op.create_table_comment(
            "exception", "what the verifications of a run, or one of a subject, found, for a person to decide"
        )
