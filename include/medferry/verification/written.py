"""The SQL that somebody wrote into the checks, tried without a row: before the first run, not at the end of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from medferry.definition.checks import EntityChecks, ManyCheck, places
from medferry.errors import DefinitionError, gathered
from medferry.plan.load import line_of
from medferry.source.faults import in_each_others_way
from medferry.source.refused import refused
from medferry.verification.legacy import columns_of, condition


def try_checks(connection: sa.Connection, path: Path, checks: EntityChecks) -> None:
    """Raises DefinitionError that names every check whose SQL the database refuses, or reads as something else."""
    gathered(partial(_try, connection, path, written) for written in _written(checks))


@dataclass(frozen=True, slots=True)
class _Written:
    """SQL expressions of one place in the file, and the tables that they are of."""

    steps: tuple[int | str, ...]
    told: str
    expressions: Sequence[str]
    tables: str
    where: str = "1 = 1"
    order: str | None = None

    @property
    def statement(self) -> str:
        """A SELECT without rows."""
        columns = ", ".join(f"{sql} AS c{number}" for number, sql in enumerate(self.expressions))
        rows = f"SELECT {columns} FROM {self.tables} WHERE ({self.where}) AND 1 = 0"
        return f"{rows} ORDER BY {self.order}" if self.order else rows


def _try(connection: sa.Connection, path: Path, written: _Written) -> None:
    try:
        with connection.begin_nested(), connection.execute(sa.text(written.statement.replace(":", "\\:"))) as result:
            columns = len(result.keys())
    except DBAPIError as error:
        if error.connection_invalidated or in_each_others_way(error):
            raise  # nothing is said of the SQL: whoever opened the connection tells it
        fault = refused(error)
        problem = f"{written.told}: {fault.problem}"
        raise DefinitionError(path, line_of(path, written.steps), problem, fault.remedy) from None
    if columns != len(written.expressions):
        problem = f"{written.told}: its SQL gives {columns} values in place of {len(written.expressions)}."
        remedy = "Write one expression in each place; the columns of a key as a list."
        raise DefinitionError(path, line_of(path, written.steps), problem, remedy)


def _written(checks: EntityChecks) -> Iterator[_Written]:
    own = [*checks.keys, *filter(None, [checks.unit, checks.period])]
    yield _Written(("from",), "the checks' own tables and key", own, checks.tables)
    for slot, resource in checks.resources.items():
        told, when = f"the condition of {slot}", condition(resource.when)
        yield _Written(("resources", slot, "when"), told, [when], checks.tables, resource.when)
    for steps, check in places(checks):
        told = f"the check {check.name}"
        if isinstance(check, ManyCheck):
            expressions = [*check.keys, check.sql]
            yield _Written(steps, told, expressions, check.tables, check.where, check.order)
        elif expressions := columns_of(check):
            yield _Written(steps, told, expressions, checks.tables)
