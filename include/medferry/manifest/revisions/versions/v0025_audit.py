"""The chain of acts. What was decided and verified before is chained as it is found: who did it is not known."""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"

_DECISION = ("id", "subject", "digest", "person", "verdict", "note", "owner", "due", "at")
_PLAIN = ("id", "migration", "run_id")
_CHECK = ("name", "entity", "status", "compared", "different", "unchecked")


def upgrade() -> None:
    table = op.create_table(
        "audit",
        sa.Column("seq", sa.Integer(), primary_key=True, autoincrement=False, comment="1, 2, 3 … without a gap"),
        sa.Column("at", sa.String(24), nullable=False),
        sa.Column("actor", sa.String(200), nullable=False, comment="os:user@machine, airflow:user; empty: not known"),
        sa.Column("act", sa.String(20), nullable=False),
        sa.Column("subject", sa.String(300), nullable=False, comment="decision/<id>, verification/<id>, run/<id> …"),
        sa.Column("digest", sa.String(64), nullable=False, comment="SHA-256 of what the act left behind, or empty"),
        sa.Column("hash", sa.String(64), nullable=False, comment="SHA-256 of this line and of the hash before it"),
        comment="what was done and decided, in a chain: no line can be changed or taken out unseen",
    )
    connection = op.get_bind()
    found = [*_decisions(connection), *_verifications(connection)]
    at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    lines, last = [], ""
    for seq, (act, subject, digest) in enumerate(found, start=1):
        values = {"seq": seq, "at": at, "actor": "", "act": act, "subject": subject, "digest": digest}
        last = _digest([last, *values.values()])
        lines.append({**values, "hash": last})
    if lines:
        op.bulk_insert(table, lines)


def _digest(values: Any) -> str:
    """As ``manifest.audit`` had it when this revision was written."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _decisions(connection: sa.Connection) -> list[tuple[str, str, str]]:
    table = sa.table("decision", *map(sa.column, _DECISION))
    rows = connection.execute(sa.select(*(table.c[name] for name in _DECISION)).order_by(table.c.id))
    return [("decided", f"decision/{row.id}", _digest(list(row))) for row in rows]


def _verifications(connection: sa.Connection) -> list[tuple[str, str, str]]:
    columns: list[sa.ColumnClause[Any]] = [
        *map(sa.column, _PLAIN),
        sa.column("subject", sa.JSON()),
        sa.column("sample_share", sa.Float()),
        sa.column("seed"),
        sa.column("validate_all", sa.Boolean()),
        sa.column("fingerprint"),
        sa.column("declared", sa.JSON()),
        sa.column("started_at"),
        sa.column("finished_at"),
    ]
    table = sa.table("verification", *columns)
    results = [*map(sa.column, _CHECK), sa.column("examples", sa.JSON()), sa.column("note")]
    check = sa.table("check_result", sa.column("verification_id"), *results)
    found = []
    ended = sa.select(*table.c).where(table.c.finished_at.is_not(None)).order_by(table.c.id)
    for row in connection.execute(ended).all():
        own = check.c.verification_id == row.id
        read = sa.select(*(check.c[one.name] for one in results)).where(own).order_by(check.c.name, check.c.entity)
        rows = [list(one) for one in connection.execute(read)]
        found.append(("verified", f"verification/{row.id}", _digest([list(row), *rows])))
    return found
