"""The exceptions register: what the verifications of a run found, and what people decided about it.

A decision belongs to the edition of the exception that it was made for. When a verification finds something else, or
finds again what was gone, the edition grows, and the exception is open again. No decision is ever overwritten.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from medferry.errors import MedferryError
from medferry.manifest.database import now
from medferry.manifest.tables import exception_, exception_decision

OPEN, ACCEPTED, FIXED = "open", "accepted", "fixed"


class UnknownException(MedferryError):
    """The manifest has no exception of that id."""


@dataclass(frozen=True, slots=True)
class Found:
    """One family of checks of one entity that is not equal, as a verification has just found it."""

    family: str
    entity: str
    category: str
    severity: str
    different: int
    unchecked: int
    digest: str


@dataclass(frozen=True, slots=True)
class ExceptionRow:
    """An exception with the decision that holds now.

    `decision` is open, accepted or fixed (the newest verification did not find it). Owner, action and due date stay
    when it is open again; the approver does not.
    """

    id: int
    run_id: str
    family: str
    entity: str
    category: str
    severity: str
    different: int
    unchecked: int
    edition: int
    found_at: str
    cleared_at: str | None
    decision: str
    approver: str
    owner: str
    action: str
    due: str
    decided_at: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person decided. `due` is a day, YYYY-MM-DD, or empty."""

    decision: str
    approver: str
    owner: str
    action: str
    due: str


def record_exceptions(connection: sa.Connection, run_id: str, found: Iterable[Found], whole: bool = True) -> None:
    """Bring a run's register to what its verification has just found: new, changed, the same, or gone.

    What a verification that was not `whole` (a sample) did not find may be there still, and stays.
    """
    known = {
        (row.family, row.entity): row
        for row in connection.execute(sa.select(exception_).where(exception_.c.run_id == run_id))
    }
    at = now()
    for one in found:
        row = known.pop((one.family, one.entity), None)
        facts = {name: getattr(one, name) for name in Found.__slots__}
        if row is None:
            connection.execute(sa.insert(exception_), [{**facts, "run_id": run_id, "edition": 1, "found_at": at}])
        elif row.digest != one.digest or row.cleared_at is not None:
            changed = {**facts, "edition": row.edition + 1, "found_at": at, "cleared_at": None}
            connection.execute(sa.update(exception_).where(exception_.c.id == row.id).values(changed))
    gone = [row.id for row in known.values() if row.cleared_at is None]
    if gone and whole:
        connection.execute(sa.update(exception_).where(exception_.c.id.in_(gone)).values(cleared_at=at))


def exceptions_of(connection: sa.Connection, run_id: str) -> list[ExceptionRow]:
    """The run's register, the open ones first, then by severity, category, entity."""
    rows = [_row(*line) for line in _lines(connection, exception_.c.run_id == run_id)]
    order = (OPEN, ACCEPTED, FIXED)
    return sorted(rows, key=lambda one: (order.index(one.decision), one.severity, one.category, one.entity, one.family))


def get_exception(connection: sa.Connection, exception_id: int) -> ExceptionRow:
    """Raises UnknownException."""
    for line in _lines(connection, exception_.c.id == exception_id):
        return _row(*line)
    raise UnknownException(f"There is no exception {exception_id}.", "List them with `medferry exceptions`.")


def record_decision(connection: sa.Connection, row: ExceptionRow, decision: Decision) -> None:
    """Append a decision about the exception as it is in `row`."""
    values = {name: getattr(decision, name) for name in Decision.__slots__}
    line = {**values, "exception_id": row.id, "edition": row.edition, "at": now()}
    connection.execute(sa.insert(exception_decision), [line])


def decisions_of(connection: sa.Connection, exception_id: int) -> list[tuple[str, Decision]]:
    """(time, decision), oldest first."""
    columns = [exception_decision.c[name] for name in ("at", *Decision.__slots__)]
    mine = exception_decision.c.exception_id == exception_id
    statement = sa.select(*columns).where(mine).order_by(exception_decision.c.id)
    return [(at, Decision(*rest)) for at, *rest in connection.execute(statement)]


def _lines(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> Iterable[tuple[sa.Row, sa.Row | None]]:  # type: ignore[type-arg]
    """Each exception with its newest decision."""
    rows = connection.execute(sa.select(exception_).where(condition)).all()
    newest = (
        sa.select(sa.func.max(exception_decision.c.id))
        .where(exception_decision.c.exception_id.in_([row.id for row in rows]))
        .group_by(exception_decision.c.exception_id)
    )
    decided = sa.select(exception_decision).where(exception_decision.c.id.in_(newest))
    by_id = {row.exception_id: row for row in connection.execute(decided)}
    return [(row, by_id.get(row.id)) for row in rows]


def _row(row: sa.Row, last: sa.Row | None) -> ExceptionRow:  # type: ignore[type-arg]
    holds = last is not None and last.edition == row.edition
    decision = FIXED if row.cleared_at else last.decision if last is not None and holds else OPEN
    own = {name: getattr(row, name) for name in ExceptionRow.__slots__ if name in exception_.c}
    return ExceptionRow(
        **own,
        decision=decision,
        approver=last.approver if last is not None and holds else "",
        owner=last.owner if last else "",
        action=last.action if last else "",
        due=last.due if last else "",
        decided_at=last.at if last is not None and holds else "",
    )
