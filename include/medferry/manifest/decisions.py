"""What people decided: about an exception, a chart; later about gates and conflicts. Appended, never overwritten.

A decision holds for exactly what it was made about: it keeps the digest of that, and whoever asks compares.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from medferry.manifest import audit
from medferry.manifest.bulk import among
from medferry.manifest.clock import read_clock
from medferry.manifest.tables import decision as table

BY_PLAN = "plan.yaml"
"""Who decided about a conflict, where the plan's authority did: the one decision that is made within a run."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person decided, in words without patient data. `due` is a day, YYYY-MM-DD, or empty."""

    verdict: str
    person: str
    note: str = ""
    owner: str = ""
    due: str = ""


@dataclass(frozen=True, slots=True)
class RecordedDecision:
    """A decision as it was recorded: of which subject, about what (its digest), at which time (UTC), in which line."""

    subject: str
    digest: str
    at: str
    decision: Decision
    number: int


def digest_of(*parts: object) -> str:
    """SHA-256 of what is decided about, in 64 digits."""
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()


def record(connection: sa.Connection, subject: str, digest: str, decision: Decision) -> None:
    """Append a decision about a subject ("exception/7") as it is now, which `digest` stands for, and note the act.

    When, the manifest's clock says: what is said counts for hours, and nobody's own clock may stretch them.
    """
    values = {name: getattr(decision, name) for name in Decision.__slots__}
    added = (
        sa.insert(table)
        .values(**values, subject=subject, digest=digest, at=read_clock(connection))
        .returning(table.c.id)
    )
    audit.note_decision(connection, int(connection.execute(added).scalar_one()))


def newest(connection: sa.Connection, subjects: Iterable[str]) -> dict[str, RecordedDecision]:
    """Subject → its newest decision, for those that have one."""
    last = sa.select(sa.func.max(table.c.id)).where(among(connection, table.c.subject, subjects))
    rows = connection.execute(sa.select(table).where(table.c.id.in_(last.group_by(table.c.subject))))
    return {row.subject: _recorded(row) for row in rows}


def decisions_of(connection: sa.Connection, subject: str) -> list[RecordedDecision]:
    """All decisions about a subject, oldest first."""
    statement = sa.select(table).where(table.c.subject == subject).order_by(table.c.id)
    return [_recorded(row) for row in connection.execute(statement)]


def decisions_below(connection: sa.Connection, *subjects: str) -> list[RecordedDecision]:
    """All decisions about some subjects, and about those below them ("readiness/m/w" has "readiness/m/w/order")."""
    subject = table.c.subject
    of = sa.or_(*((subject == one) | subject.startswith(f"{one}/", autoescape=True) for one in subjects))
    return [_recorded(row) for row in connection.execute(sa.select(table).where(of).order_by(table.c.id))]


def _recorded(row: sa.Row) -> RecordedDecision:  # type: ignore[type-arg]
    decision = Decision(*(getattr(row, name) for name in Decision.__slots__))
    return RecordedDecision(row.subject, row.digest, row.at, decision, row.id)
