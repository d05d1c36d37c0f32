"""Results of verification, kept with the run as evidence. A verification that has not finished has no results yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

import sqlalchemy as sa

from medferry.manifest.database import now
from medferry.manifest.tables import check, difference, period_account, verification, verified_part

EQUAL, DIFFERENT, COULD_NOT_CHECK = "equal", "different", "could_not_check"
EXAMPLES = 20


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One comparison of one entity ("all": of the run).

    `compared` counts what was compared, `different` and `unchecked` what of it differed and what could not be compared.
    `examples` are at most 20 keys or ids; the table `difference` has all. No member holds patient data.
    """

    name: str
    entity: str
    status: str
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
class VerificationRow:
    """What was asked of a run's newest verification."""

    run_id: str
    sample_share: float
    seed: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class FinishedPart:
    """A finished part of a verification. Times are UTC; `points` are units of Medplum's quota."""

    part: str
    started_at: str
    finished_at: str
    resources: int
    points: int


def begin_verification(connection: sa.Connection, asked: VerificationRow, force: bool) -> set[str]:
    """Start, or go on with an unfinished verification of the same; returns the parts it has finished."""
    names = [verification.c[name] for name in VerificationRow.__slots__]
    unfinished = sa.select(*names).where(verification.c.run_id == asked.run_id, verification.c.finished_at.is_(None))
    row = connection.execute(unfinished).one_or_none()
    if not force and row is not None and VerificationRow(**row._mapping) == asked:
        return set(connection.scalars(sa.select(verified_part.c.part).where(verified_part.c.run_id == asked.run_id)))
    for table in (verification, verified_part, check, difference, period_account):
        connection.execute(sa.delete(table).where(table.c.run_id == asked.run_id))
    connection.execute(sa.insert(verification), [{**asdict(asked), "started_at": now()}])
    return set()


def forget_part(connection: sa.Connection, run_id: str, part: str) -> None:
    """Remove what an unfinished part has written, before it is done again."""
    for table in (check, difference, verified_part):
        connection.execute(sa.delete(table).where(table.c.run_id == run_id, table.c.part == part))


def record_differences(connection: sa.Connection, run_id: str, part: str, found: Iterable[Difference]) -> None:
    """Append differences of a part that is at work."""
    rows = [{"run_id": run_id, "part": part, **asdict(one)} for one in found]
    if rows:
        connection.execute(sa.insert(difference), rows)


def record_part(connection: sa.Connection, run_id: str, part: FinishedPart, results: Sequence[CheckResult]) -> None:
    """Write the results of a part, forgotten before, and that it is finished."""
    rows = [{"run_id": run_id, "part": part.part, "checked_at": part.finished_at, **asdict(one)} for one in results]
    if rows:
        connection.execute(sa.insert(check), rows)
    connection.execute(sa.insert(verified_part), [{"run_id": run_id, **asdict(part)}])


def finish_verification(connection: sa.Connection, run_id: str) -> None:
    """From now on the results count."""
    connection.execute(sa.update(verification).where(verification.c.run_id == run_id).values(finished_at=now()))


def record_periods(
    connection: sa.Connection, run_id: str, entity: str, counts: Iterable[tuple[str, str, str, int]]
) -> None:
    """Replace an entity's accounting by (unit, period, disposition, rows)."""
    mine = sa.and_(period_account.c.run_id == run_id, period_account.c.entity == entity)
    connection.execute(sa.delete(period_account).where(mine))
    names = ("unit", "period", "disposition", "rows")
    rows = [{"run_id": run_id, "entity": entity, **dict(zip(names, line, strict=True))} for line in counts]
    if rows:
        connection.execute(sa.insert(period_account), rows)


def checks_of(connection: sa.Connection, run_id: str) -> list[CheckResult]:
    """The results of the run's finished verification, by name and entity; none while it is at work or when it died."""
    done = verification.c.finished_at.is_not(None)
    columns = [check.c[name] for name in CheckResult.__slots__]
    statement = (
        sa.select(*columns)
        .join(verification, verification.c.run_id == check.c.run_id)
        .where(check.c.run_id == run_id, done)
        .order_by(check.c.name, check.c.entity)
    )
    return [CheckResult(**row._mapping) for row in connection.execute(statement)]


def differences_of(connection: sa.Connection, run_id: str) -> list[Difference]:
    """Every difference of the run's newest verification, by check, entity and key."""
    columns = [difference.c[name] for name in Difference.__slots__]
    order = (difference.c.name, difference.c.entity, difference.c.key, difference.c.id)
    statement = sa.select(*columns).where(difference.c.run_id == run_id).order_by(*order)
    return [Difference(**row._mapping) for row in connection.execute(statement)]


def parts_of(connection: sa.Connection, run_id: str) -> list[FinishedPart]:
    """The finished parts of the run's newest verification, with what they cost."""
    columns = [verified_part.c[name] for name in FinishedPart.__slots__]
    statement = sa.select(*columns).where(verified_part.c.run_id == run_id).order_by(verified_part.c.part)
    return [FinishedPart(**row._mapping) for row in connection.execute(statement)]


@dataclass(frozen=True, slots=True)
class Done:
    """A run's newest verification that has finished; times are UTC."""

    started_at: str
    finished_at: str
    sample_share: float
    seed: int
    fingerprint: str


def verification_of(connection: sa.Connection, run_id: str) -> Done | None:
    """None while it is at work, when it died, and when there was none."""
    columns = [verification.c[name] for name in Done.__slots__]
    statement = sa.select(*columns).where(verification.c.run_id == run_id, verification.c.finished_at.is_not(None))
    row = connection.execute(statement).one_or_none()
    return Done(*row) if row else None
