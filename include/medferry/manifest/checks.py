"""Verifications and their results, kept as evidence. One that has not finished has no results yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from medferry.manifest import audit
from medferry.manifest.audit import Act
from medferry.manifest.coverage import LeafCount, coverage
from medferry.manifest.database import now
from medferry.manifest.subject import Subject
from medferry.manifest.tables import check, difference, period_account, verification, verified_part
from medferry.manifest.verifications import fresh_parts

EXAMPLES = 20


class CheckStatus(StrEnum):
    """What a check has found, from the best to the worst: in any summary the worst one wins."""

    EQUAL = "equal"
    NOTHING = "nothing_compared"
    """There was nothing to compare: that is no proof of anything, nor a fault, unless there had to be something."""
    HASHES_ONLY = "hashes_only"
    """Everything is as it was written; whether it was right was not asked."""
    IN_FLIGHT = "in_flight"
    """What differs is on its way between the two systems, or differed in one of two looks only."""
    SETTLING = "settling"
    """What was sent may still arrive: it is too early to say."""
    COULD_NOT_CHECK = "could_not_check"
    DIFFERENT = "different"


def worst(statuses: Iterable[CheckStatus]) -> CheckStatus:
    """The worst of some; of none: nothing was compared."""
    order = list(CheckStatus)
    return max(statuses, key=order.index, default=CheckStatus.NOTHING)


_RESULTS = (verified_part, check, difference, period_account, coverage)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One comparison of one entity ("all": of the whole subject).

    `compared` counts what was compared, `different` and `unchecked` what of it differed and what could not be compared.
    `examples` are at most 20 keys or ids; the table `difference` has all. No member holds patient data.
    """

    name: str
    entity: str
    status: CheckStatus
    compared: int
    different: int = 0
    examples: list[str] = field(default_factory=list)
    unchecked: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that differs: which source key, which field, in what way, and where in Medplum ("Type/id")."""

    name: str
    entity: str
    key: str
    field: str
    kind: str
    place: str = ""


@dataclass(frozen=True, slots=True)
class PeriodCount:
    """How many rows of the legacy database, of a unit and a year (or none), have become what, by the manifest."""

    entity: str
    unit: str
    period: str
    disposition: str
    rows: int


@dataclass(frozen=True, slots=True)
class VerificationRequest:
    """What a verification is to be of, and how. `run_id`: of the run that has this subject; None: as it is now.

    `declared` has each entity's checks, their SQL and FHIRPath: the evidence of what was run.
    """

    migration: str
    run_id: str | None
    subject: Subject
    sample_share: float
    seed: int
    validate_all: bool
    fingerprint: str
    declared: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FinishedPart:
    """A finished part of a verification. Times are UTC; `points` are units of Medplum's quota."""

    part: str
    started_at: str
    finished_at: str
    resources: int
    points: int


@dataclass(frozen=True, slots=True)
class Verification:
    """A verification that has finished; times are UTC."""

    id: int
    migration: str
    run_id: str | None
    subject: Mapping[str, Any]
    started_at: str
    finished_at: str
    sample_share: float
    seed: int
    fingerprint: str
    declared: Mapping[str, Any]


def begin_verification(
    connection: sa.Connection, request: VerificationRequest, force: bool
) -> tuple[int, frozenset[str]]:
    """Start a verification, or go on with an unfinished one of the same: its id and the parts that it has finished
    within the last hour.

    What a run's earlier verification found is removed, and what of the subject's was never finished.
    """
    values = {**asdict(request), "subject": request.subject.as_json()}
    earlier = connection.execute(sa.select(verification).where(*_replaced(request))).mappings().all()
    earlier = [row for row in earlier if request.run_id or row["subject"] == values["subject"]]
    for row in earlier:
        if not force and row["finished_at"] is None and all(row[name] == value for name, value in values.items()):
            return row["id"], fresh_parts(connection, row["id"])
    for row in earlier:
        if row["finished_at"] is not None:  # first: only what the chain says so of lets itself be removed
            audit.append(connection, Act.REPLACED, f"verification/{row['id']}")
        _remove(connection, row["id"])
    added = connection.execute(sa.insert(verification).values(**values, started_at=now()))
    return int((added.inserted_primary_key or [0])[0]), frozenset()


def _replaced(request: VerificationRequest) -> list[sa.ColumnElement[bool]]:
    if request.run_id is not None:
        return [verification.c.run_id == request.run_id]
    ours = [verification.c.migration == request.migration, verification.c.run_id.is_(None)]
    return [*ours, verification.c.finished_at.is_(None)]


def _remove(connection: sa.Connection, verification_id: int) -> None:
    for table in _RESULTS:
        connection.execute(sa.delete(table).where(table.c.verification_id == verification_id))
    connection.execute(sa.delete(verification).where(verification.c.id == verification_id))


def forget_part(connection: sa.Connection, verification_id: int, part: str) -> None:
    """Remove what a part has written that did not finish, or is too old, before it is done again."""
    for table in (check, coverage, difference, verified_part):
        connection.execute(sa.delete(table).where(table.c.verification_id == verification_id, table.c.part == part))
    kind, _, entity = part.partition("/")
    if kind == "source":
        own = (period_account.c.verification_id == verification_id, period_account.c.entity == entity)
        connection.execute(sa.delete(period_account).where(*own))


def record_differences(connection: sa.Connection, verification_id: int, part: str, found: Iterable[Difference]) -> None:
    """Append differences of a part that is at work."""
    rows = [{"verification_id": verification_id, "part": part, **asdict(line)} for line in found]
    if rows:
        connection.execute(sa.insert(difference), rows)


def record_part(
    connection: sa.Connection,
    verification_id: int,
    part: FinishedPart,
    results: Sequence[CheckResult],
    periods: Sequence[PeriodCount] = (),
    leaves: Sequence[LeafCount] = (),
) -> None:
    """Write the results of a part, forgotten before, and that it is finished."""
    own = {"verification_id": verification_id}
    rows = [{**own, "part": part.part, "checked_at": part.finished_at, **asdict(result)} for result in results]
    if rows:
        connection.execute(sa.insert(check), rows)
    if periods:
        connection.execute(sa.insert(period_account), [{**own, **asdict(count)} for count in periods])
    if leaves:
        connection.execute(sa.insert(coverage), [{**own, "part": part.part, **asdict(count)} for count in leaves])
    connection.execute(sa.insert(verified_part), [{**own, **asdict(part)}])


def finish_verification(connection: sa.Connection, verification_id: int) -> Verification:
    """From now on the results count."""
    ended = sa.update(verification).where(verification.c.id == verification_id).values(finished_at=now())
    connection.execute(ended)
    audit.note_verification(connection, verification_id)
    found = _finished(connection, verification.c.id == verification_id)
    assert found is not None
    return found


def verification_of(connection: sa.Connection, run_id: str) -> Verification | None:
    """The run's finished verification. None while it is at work, when it died, and when there was none."""
    return _finished(connection, verification.c.run_id == run_id)


def get_verification(connection: sa.Connection, verification_id: int) -> Verification | None:
    """None while it is at work, when it died, and when there is none of that id."""
    return _finished(connection, verification.c.id == verification_id)


def whole_verifications(connection: sa.Connection, migration: str) -> list[Verification]:
    """The finished verifications of subjects without a key, the newest first."""
    columns = [verification.c[name] for name in Verification.__slots__]
    ended = (verification.c.run_id.is_(None), verification.c.finished_at.is_not(None))
    own = sa.select(*columns).where(verification.c.migration == migration, *ended)
    found = [Verification(*row) for row in connection.execute(own.order_by(verification.c.id.desc()))]
    return [each for each in found if not each.subject["keys"]]


def _finished(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> Verification | None:
    columns = [verification.c[name] for name in Verification.__slots__]
    row = connection.execute(
        sa.select(*columns).where(condition, verification.c.finished_at.is_not(None))
    ).one_or_none()
    return Verification(*row) if row else None


def results_of(connection: sa.Connection, found: Verification | None) -> list[CheckResult]:
    """The results of a finished verification, by name and entity; none of None."""
    if found is None:
        return []
    columns = [check.c[name] for name in CheckResult.__slots__]
    statement = sa.select(*columns).where(check.c.verification_id == found.id).order_by(check.c.name, check.c.entity)
    rows = connection.execute(statement).mappings()
    return [CheckResult(**{**row, "status": CheckStatus(row["status"])}) for row in rows]


def checks_of(connection: sa.Connection, run_id: str) -> list[CheckResult]:
    """The results of the run's finished verification, by name and entity; none while it is at work or when it died."""
    return results_of(connection, verification_of(connection, run_id))


def differences_of(connection: sa.Connection, run_id: str) -> list[Difference]:
    """Every difference of the run's newest verification, by check, entity and key."""
    columns = [difference.c[name] for name in Difference.__slots__]
    order = (difference.c.name, difference.c.entity, difference.c.key, difference.c.id)
    statement = _of_run(difference, run_id, columns).order_by(*order)
    return [Difference(**row._mapping) for row in connection.execute(statement)]


def parts_of(connection: sa.Connection, run_id: str) -> list[FinishedPart]:
    """The finished parts of the run's newest verification, with what they cost."""
    columns = [verified_part.c[name] for name in FinishedPart.__slots__]
    statement = _of_run(verified_part, run_id, columns).order_by(verified_part.c.part)
    return [FinishedPart(**row._mapping) for row in connection.execute(statement)]


def resources_read(connection: sa.Connection, verification_id: int) -> int:
    """How many resources a verification has read from Medplum."""
    own = verified_part.c.verification_id == verification_id
    return int(connection.scalar(sa.select(sa.func.sum(verified_part.c.resources)).where(own)) or 0)


def _of_run(table: sa.Table, run_id: str, columns: Sequence[sa.Column[Any]]) -> sa.Select[Any]:
    own = sa.and_(verification.c.id == table.c.verification_id, verification.c.run_id == run_id)
    return sa.select(*columns).join_from(table, verification, own)


def difference_lines(
    connection: sa.Connection, verification_id: int, entity: str, name: str
) -> Iterator[tuple[str, ...]]:
    """(key, field, kind, place) of every difference of a check of an entity, in that order."""
    columns = (difference.c.key, difference.c.field, difference.c.kind, difference.c.place)
    own = (difference.c.verification_id == verification_id, difference.c.entity == entity, difference.c.name == name)
    for row in connection.execute(sa.select(*columns).where(*own).order_by(*columns)):
        yield tuple(row)


def differing_keys(connection: sa.Connection, run_id: str, entity: str) -> list[str]:
    """The source key of each difference of an entity that the run's newest verification found; a key may come again."""
    statement = _of_run(difference, run_id, [difference.c.key]).where(difference.c.entity == entity)
    return list(connection.scalars(statement))
