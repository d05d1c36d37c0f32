"""The journal that suits an engine, and its installation."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from medferry.errors import SourceError
from medferry.source.changes.cuts import writing
from medferry.source.changes.journal import Journal
from medferry.source.changes.mysql import MysqlJournal
from medferry.source.changes.postgresql import PostgresqlJournal
from medferry.source.changes.rules import Watched
from medferry.source.changes.sqlite import SqliteJournal

_KINDS: dict[str, type[Journal]] = {
    "postgresql": PostgresqlJournal,
    "mysql": MysqlJournal,
    "mariadb": MysqlJournal,
    "sqlite": SqliteJournal,
}


def journal_of(engine: sa.Engine, watched: Watched) -> Journal:
    """Raises SourceError for an engine that has none."""
    kind = _KINDS.get(engine.dialect.name)
    if kind is None:
        raise SourceError(f"There is no capture for {engine.dialect.name}.", "Declare the method `sweep`.")
    return kind(watched)


def execute(engine: sa.Engine, journal: Journal, statements: Iterable[str]) -> None:
    """Run statements as they stand, all or none where the engine can. Raises CaptureBroken, SourceUnavailable."""
    with writing(engine) as connection:
        # The statements hold what people wrote: no colon or percent sign in them is a placeholder.
        plain = connection.execution_options(no_parameters=True)
        for statement in ([journal.patience] if journal.patience else []) + list(statements):
            plain.exec_driver_sql(statement)


def to_install(engine: sa.Engine, journal: Journal) -> list[str]:
    """The statements that make what is missing or not as it must be; none when all is there. Raises CaptureBroken."""
    with writing(engine) as connection:
        return list(dict.fromkeys(statement for fault in journal.faults(connection) for statement in fault.mend))


def to_remove(engine: sa.Engine, journal: Journal) -> list[str]:
    """The statements that leave nothing of ours."""
    with writing(engine) as connection:
        return journal.removal(connection)


def install(engine: sa.Engine, journal: Journal) -> list[str]:
    """Make what is missing or not as it must be, and say what was done."""
    return _done(engine, journal, to_install(engine, journal))


def remove(engine: sa.Engine, journal: Journal) -> list[str]:
    """Leave nothing of ours, and say what was done."""
    return _done(engine, journal, to_remove(engine, journal))


def _done(engine: sa.Engine, journal: Journal, statements: list[str]) -> list[str]:
    if statements:
        execute(engine, journal, statements)
    return statements
