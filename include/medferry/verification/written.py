"""The SQL that somebody wrote into the checks, tried without a row: before the first run, not at the end of it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from medferry.definition.checks import EntityChecks, ManyCheck, places
from medferry.errors import DefinitionError, gathered
from medferry.plan.load import line_of
from medferry.source.refused import refused
from medferry.verification.legacy import columns_of


def try_checks(connection: sa.Connection, path: Path, checks: EntityChecks) -> None:
    """Raises DefinitionError that names every check whose SQL the database refuses."""
    gathered(partial(_try, connection, path, steps, told, sql) for steps, told, sql in _statements(checks))


def _try(connection: sa.Connection, path: Path, steps: tuple[int | str, ...], told: str, sql: str) -> None:
    try:
        with connection.begin_nested():
            connection.execute(sa.text(sql.replace(":", "\\:"))).close()
    except DBAPIError as error:
        fault = refused(error)
        raise DefinitionError(path, line_of(path, steps), f"{told}: {fault.problem}", fault.remedy) from None


def _statements(checks: EntityChecks) -> Iterator[tuple[tuple[int | str, ...], str, str]]:
    """(steps to the place, what is tried, a SELECT without rows)."""
    own = [*checks.keys, *filter(None, [checks.unit, checks.period])]
    yield ("from",), "the checks' own tables and key", _without_rows(own, checks.tables)
    for steps, check in places(checks):
        if isinstance(check, ManyCheck):
            where = f"({check.where}) AND 1 = 0"
            yield steps, f"the check {check.name}", _without_rows([*check.keys, check.sql], check.tables, where)
        elif expressions := columns_of(check):
            yield steps, f"the check {check.name}", _without_rows(expressions, checks.tables)


def _without_rows(expressions: list[str], tables: str, where: str = "1 = 0") -> str:
    columns = ", ".join(f"{sql} AS c{number}" for number, sql in enumerate(expressions))
    return f"SELECT {columns} FROM {tables} WHERE {where}"
