"""Results of verification, kept with the run as evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import sqlalchemy as sa

from medferry.manifest.database import now
from medferry.manifest.tables import check

EQUAL, DIFFERENT, COULD_NOT_CHECK = "equal", "different", "could_not_check"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One comparison. `examples` are at most 20 identifiers or ids; `different` counts all."""

    name: str
    entity: str
    status: str
    compared: int
    different: int = 0
    examples: list[str] = field(default_factory=list)


def compared(name: str, entity: str, number: int, differences: Sequence[str]) -> CheckResult:
    """A result from the list of what differs."""
    status = DIFFERENT if differences else EQUAL
    return CheckResult(name, entity, status, number, len(differences), sorted(differences)[:20])


def record_checks(connection: sa.Connection, run_id: str, results: Sequence[CheckResult]) -> None:
    """Replace the run's check results."""
    connection.execute(sa.delete(check).where(check.c.run_id == run_id))
    at = now()
    rows = [{"run_id": run_id, "checked_at": at, **asdict(result)} for result in results]
    if rows:
        connection.execute(sa.insert(check), rows)


def checks_of(connection: sa.Connection, run_id: str) -> list[CheckResult]:
    """The run's check results, by name and entity."""
    columns = [check.c[name] for name in CheckResult.__slots__]
    statement = sa.select(*columns).where(check.c.run_id == run_id).order_by(check.c.name, check.c.entity)
    return [CheckResult(**row._mapping) for row in connection.execute(statement)]
