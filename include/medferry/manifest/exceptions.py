"""The exceptions register: what the verifications of a run, or one of a subject, found, and what people decided of it.

A decision holds for exactly what it was made about. When a verification finds something else, or
finds again what was gone, the edition grows, and the exception is open again. No decision is ever overwritten.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from medferry.errors import MedferryError
from medferry.manifest import decisions
from medferry.manifest.checks import Verification
from medferry.manifest.database import now
from medferry.manifest.decisions import Decision, RecordedDecision, digest_of
from medferry.manifest.tables import exception_


class ExceptionState(StrEnum):
    """Of an exception, in the order of a list of them."""

    OPEN = "open"
    ACCEPTED = "accepted"
    FIXED = "fixed"
    """The newest verification did not find it; nobody decides that."""


class Severity(StrEnum):
    """How much an exception weighs."""

    CRITICAL = "critical"
    MAJOR = "major"
    UNKNOWN = "unknown"
    """Nothing differs, but something could not be checked."""


class UnknownException(MedferryError):
    """The manifest has no exception of that id."""


@dataclass(frozen=True, slots=True)
class Found:
    """One family of checks of one entity that is not equal, as a verification has just found it."""

    family: str
    entity: str
    category: str
    severity: Severity
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
    run_id: str | None
    verification_id: int | None
    """The one or the other: of a run, or of a verification that is of no run."""
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
    digest: str = ""
    """Of the exception as it is now: what was found, and how often it has changed."""


def record_exceptions(connection: sa.Connection, by: Verification, found: Iterable[Found]) -> None:
    """Bring the register to what a verification has just found: new, changed, the same, or gone.

    It is the run's register, or the verification's own when it is of no run. What a sample did not find may be there
    still, and stays.
    """
    lines = sa.select(exception_).where(_register_of(by))
    known = {(row.family, row.entity): row for row in connection.execute(lines)}
    holder = {"run_id": by.run_id, "verification_id": None if by.run_id else by.id}
    at = now()
    for family in found:
        row = known.pop((family.family, family.entity), None)
        facts = {name: getattr(family, name) for name in Found.__slots__}
        if row is None:
            connection.execute(sa.insert(exception_), [{**facts, **holder, "edition": 1, "found_at": at}])
        elif row.digest != family.digest or row.cleared_at is not None:
            changed = {**facts, "edition": row.edition + 1, "found_at": at, "cleared_at": None}
            connection.execute(sa.update(exception_).where(exception_.c.id == row.id).values(changed))
    gone = [row.id for row in known.values() if row.cleared_at is None]
    if gone and by.sample_share == 1:
        connection.execute(sa.update(exception_).where(exception_.c.id.in_(gone)).values(cleared_at=at))


def exceptions_of(connection: sa.Connection, run_id: str) -> list[ExceptionRow]:
    """The run's register, the open ones first, then by severity, category, entity."""
    return _sorted(_row(*line) for line in _lines(connection, exception_.c.run_id == run_id))


def exceptions_found_by(connection: sa.Connection, verification_id: int) -> list[ExceptionRow]:
    """The register of a verification that is of no run, in the same order."""
    return _sorted(_row(*line) for line in _lines(connection, exception_.c.verification_id == verification_id))


def _register_of(by: Verification) -> sa.ColumnElement[bool]:
    return exception_.c.run_id == by.run_id if by.run_id else exception_.c.verification_id == by.id


def _sorted(rows: Iterable[ExceptionRow]) -> list[ExceptionRow]:
    return sorted(rows, key=_order)


def _order(row: ExceptionRow) -> tuple[int, str, str, str, str]:
    state = list(ExceptionState).index(ExceptionState(row.decision))
    return state, row.severity, row.category, row.entity, row.family


def get_exception(connection: sa.Connection, exception_id: int) -> ExceptionRow:
    """Raises UnknownException."""
    for line in _lines(connection, exception_.c.id == exception_id):
        return _row(*line)
    raise UnknownException(f"There is no exception {exception_id}.", "List them with `medferry exceptions`.")


def record_decision(connection: sa.Connection, row: ExceptionRow, decision: Decision) -> None:
    """Append a decision about the exception as it is in `row`."""
    decisions.record(connection, about_exception(row.id), row.digest, decision)


def decisions_about(connection: sa.Connection, exception_id: int) -> list[RecordedDecision]:
    """All decisions about an exception, oldest first."""
    return decisions.decisions_of(connection, about_exception(exception_id))


def about_exception(exception_id: int) -> str:
    """What decisions about it have as their subject."""
    return f"exception/{exception_id}"


def _lines(
    connection: sa.Connection, condition: sa.ColumnElement[bool]
) -> Iterable[tuple[sa.Row, RecordedDecision | None]]:  # type: ignore[type-arg]
    """Each exception with its newest decision."""
    rows = connection.execute(sa.select(exception_).where(condition)).all()
    newest = decisions.newest(connection, [about_exception(row.id) for row in rows])
    return [(row, newest.get(about_exception(row.id))) for row in rows]


def _row(row: sa.Row, last: RecordedDecision | None) -> ExceptionRow:  # type: ignore[type-arg]
    present = digest_of(row.digest, row.edition)
    holds = last is not None and last.digest == present
    said = last.decision if last is not None else Decision("", "")
    own = {name: getattr(row, name) for name in ExceptionRow.__slots__ if name in exception_.c and name != "digest"}
    return ExceptionRow(
        **own,
        digest=present,
        decision=ExceptionState.FIXED if row.cleared_at else said.verdict if holds else ExceptionState.OPEN,
        approver=said.person if holds else "",
        owner=said.owner,
        action=said.note,
        due=said.due,
        decided_at=last.at if last is not None and holds else "",
    )
