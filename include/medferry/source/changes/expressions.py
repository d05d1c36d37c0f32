"""Whether the database can evaluate the SQL that triggers are made of: it is asked before any trigger is there.

PostgreSQL and SQLite look at no name in a trigger's body before a row is written. Then every write of the application
fails, for a letter too many in a file of ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from medferry.errors import SourceError
from medferry.source.changes.rules import OF_ROW, ROW, Watched
from medferry.source.database import set_apart
from medferry.source.session import refuse_warnings

_ALIAS = "medferry_row"
_SUB_SELECT = re.compile(r"(?i)\bselect\b")


class ExpressionRefused(SourceError):
    """The database cannot evaluate SQL of a trigger: with it every write of the table would fail."""


@dataclass(frozen=True, slots=True)
class Expression:
    """SQL that is evaluated for a row of a table, with `ROW` in its place.

    `place` and `told` are as somebody wrote it, `table` is as SQL calls it.
    """

    place: str
    table: str
    told: str
    sql: str


def of_watched(watched: Watched, called: Mapping[str, str]) -> list[Expression]:
    """What triggers log of a row, and the SELECTs that look keys up by it; `called`: the tables as SQL calls them."""
    found = list[Expression]()
    for table, keys in watched.items():
        for key in keys:
            place, told = f"capture.yaml, entity {key.entity}, table {table}", ", ".join(key.parts)
            asked = [*key.logged(ROW), *([f"EXISTS ({key.in_trigger(ROW)})"] if key.is_select else [])]
            found += [Expression(place, called[table], told, sql) for sql in asked]
    return found


def check_expressions(connection: sa.Connection, expressions: Iterable[Expression], of_rows: bool = False) -> None:
    """Ask the database to evaluate each, without reading a row.

    `of_rows`: those that compute without a SELECT are evaluated for all rows that are there, too. One that fails for
    some values (a text that is no number) is found so. Raises one ExpressionRefused that names all, SourceUnavailable.
    """
    problems, remedies = dict[str, None](), dict[str, None]()
    for one in expressions:
        try:
            _ask(connection, _of_no_row(one))
            if of_rows and not OF_ROW.fullmatch(one.sql) and not _SUB_SELECT.search(one.sql):
                _ask(connection, _of_all_rows(one))
        except SourceError as error:
            problem = error.problem[:1].lower() + error.problem[1:]
            problems[f"{one.place}: `{one.told}` cannot be evaluated for each row, {problem}"] = None
            remedies[error.remedy] = None
    if problems:
        raise ExpressionRefused(
            "\n  ".join(problems),
            f"Correct it, or the account's rights; in a trigger it would fail every write of the table. Nothing was "
            f"changed. {' '.join(remedies)}",
        )


def _ask(connection: sa.Connection, statement: str) -> None:
    """Raises SourceError, also for a warning: while a row is written it is an error."""
    with set_apart(connection):
        # What people wrote: no colon or percent sign in it is a placeholder.
        connection.execution_options(no_parameters=True).exec_driver_sql(statement).all()
        refuse_warnings(connection)


def _of_no_row(one: Expression) -> str:
    """Each column stands alone, as in a trigger: one that does not name the row's finds nothing to be a column of."""

    def none_of(column: str) -> str:
        return f"(SELECT {column} FROM {one.table} {_ALIAS} WHERE 1 = 0)"

    sql = OF_ROW.sub(lambda match: none_of(f"{_ALIAS}.{match[1]}"), one.sql)
    return f"SELECT CASE WHEN 1 = 0 THEN {sql.replace(ROW, none_of(_ALIAS))} END"


def _of_all_rows(one: Expression) -> str:
    return f"SELECT count({one.sql.replace(ROW, _ALIAS)}) FROM {one.table} {_ALIAS}"
