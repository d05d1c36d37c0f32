"""The journal that suits an engine; and the installation of any objects of ours."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from medferry.errors import SourceError
from medferry.source.changes.cuts import writing
from medferry.source.changes.expressions import check_expressions
from medferry.source.changes.journal import Journal
from medferry.source.changes.mysql import MysqlJournal
from medferry.source.changes.postgresql import PostgresqlJournal
from medferry.source.changes.rules import Watched
from medferry.source.changes.sqlite import SqliteJournal
from medferry.source.dialects import DIALECTS
from medferry.source.objects import LegacyObjects

_KINDS: dict[str, type[Journal]] = {
    "postgresql": PostgresqlJournal,
    "mysql": MysqlJournal,
    "mariadb": MysqlJournal,
    "sqlite": SqliteJournal,
}


def journal_of(engine: sa.Engine, watched: Watched, births: bool = False) -> Journal:
    """The journal of some tables, with the table of births where rows are inserted for such.

    Raises SourceError for an engine that has none.
    """
    kind = _KINDS.get(engine.dialect.name)
    if kind is None:
        title = DIALECTS[engine.dialect.name].title
        raise SourceError(
            f"There is no capture for {title}: no wave can be kept in step with it.",
            "Cut a unit over within one freeze: migrate, freeze it by its accounts' rights, migrate again, verify.",
        )
    return kind(watched, births)


def execute(engine: sa.Engine, objects: LegacyObjects, statements: Iterable[str]) -> None:
    """Run statements as they stand, all or none where the engine can. Raises as `writing`."""
    with writing(engine, objects) as connection:
        # The statements hold what people wrote: no colon or percent sign in them is a placeholder.
        plain = connection.execution_options(no_parameters=True)
        for statement in ([objects.patience] if objects.patience else []) + list(statements):
            plain.exec_driver_sql(statement)


def to_install(engine: sa.Engine, objects: LegacyObjects) -> list[str]:
    """The statements that make what is missing or not as it must be; none when all is there.

    Raises as `faults` and `check_expressions`, and as `check` where no statement mends what is amiss.
    """
    with writing(engine, objects) as connection:
        statements = list(dict.fromkeys(one for fault in objects.faults(connection) for one in fault.mend))
        check_expressions(connection, objects.expressions(connection), of_rows=True)
        if not statements:
            objects.check(connection)
        return statements


def not_mended(engine: sa.Engine, objects: LegacyObjects) -> list[str]:
    """What is amiss and no statement mends."""
    with writing(engine, objects) as connection:
        return [fault.problem for fault in objects.faults(connection) if not fault.mend]


def to_remove(engine: sa.Engine, objects: LegacyObjects) -> list[str]:
    """The statements that leave nothing of ours."""
    with writing(engine, objects) as connection:
        return objects.removal(connection)


def install(engine: sa.Engine, objects: LegacyObjects) -> list[str]:
    """Make what is missing or not as it must be, and say what was done."""
    return _done(engine, objects, to_install(engine, objects))


def remove(engine: sa.Engine, objects: LegacyObjects) -> list[str]:
    """Leave nothing of ours, and say what was done."""
    return _done(engine, objects, to_remove(engine, objects))


def _done(engine: sa.Engine, objects: LegacyObjects, statements: list[str]) -> list[str]:
    if statements:
        execute(engine, objects, statements)
    return statements
