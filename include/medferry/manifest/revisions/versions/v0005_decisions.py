"""One table for what people decide: exceptions and reviews of charts, later gates and conflicts.

A decision about an exception as it is now keeps the digest of that; an earlier one holds no longer and has none.
"""

import hashlib

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_NAMES = ("subject", "digest", "person", "verdict", "note", "owner", "due", "at")


def upgrade() -> None:
    op.create_table(
        "decision",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column(
            "subject", sa.String(length=500), nullable=False, comment="exception/<id>, chart/<run>/<entity>/<key>"
        ),
        sa.Column("digest", sa.String(length=64), nullable=False, comment="SHA-256 of exactly what was decided about"),
        sa.Column("person", sa.String(length=100), nullable=False),
        sa.Column("verdict", sa.String(length=20), nullable=False, comment="open, accepted; agrees, differs"),
        sa.Column("note", sa.String(length=1000), nullable=False, comment="in words, without patient data"),
        sa.Column("owner", sa.String(length=100), nullable=False),
        sa.Column("due", sa.String(length=10), nullable=False, comment="day, or empty"),
        sa.Column("at", sa.String(length=24), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        comment="every decision ever made; the newest of a subject counts, if its digest is the present one",
    )
    op.create_index("decision_subject", "decision", ["subject", "id"])
    connection = op.get_bind()
    found = [*_decided_exceptions(connection), *_reviewed_charts(connection)]
    if found:
        table = sa.table("decision", *map(sa.column, _NAMES))
        op.bulk_insert(table, [dict(zip(_NAMES, line, strict=True)) for line in found])
    op.drop_table("exception_decision")
    op.drop_table("chart_review")


def _digest(*parts: object) -> str:
    """As ``manifest.decisions.digest_of`` was when this revision was written."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()


def _decided_exceptions(connection: sa.Connection) -> list[tuple[str, ...]]:
    rows = connection.execute(
        sa.text(
            "SELECT d.exception_id, d.edition, d.at, d.decision, d.approver, d.owner, d.action, d.due, "
            "e.edition AS present, e.digest FROM exception_decision d JOIN exception e ON e.id = d.exception_id "
            "ORDER BY d.id"
        )
    )
    return [
        (
            f"exception/{row.exception_id}",
            _digest(row.digest, row.edition) if row.edition == row.present else "",
            row.approver,
            row.decision,
            row.action,
            row.owner,
            row.due,
            row.at,
        )
        for row in rows
    ]


def _reviewed_charts(connection: sa.Connection) -> list[tuple[str, ...]]:
    rows = connection.execute(
        sa.text(
            "SELECT r.run_id, r.entity, r.key, r.at, r.reviewer, r.outcome, r.finding, c.seed, c.drawn_at "
            "FROM chart_review r LEFT JOIN chart c ON c.run_id = r.run_id AND c.entity = r.entity AND c.key = r.key "
            "ORDER BY r.id"
        )
    )
    return [
        (
            f"chart/{row.run_id}/{row.entity}/{row.key}",
            _digest(row.seed, row.drawn_at) if row.drawn_at else "",
            row.reviewer,
            row.outcome,
            row.finding,
            "",
            "",
            row.at,
        )
        for row in rows
    ]
