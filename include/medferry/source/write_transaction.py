"""A transaction that writes into the legacy database. Its account is one that may: the reader's sessions may not."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from medferry.errors import SourceUnavailable
from medferry.source.dialects import DIALECTS
from medferry.source.entity import SourceEntity
from medferry.source.faults import code_of, in_each_others_way, state_of
from medferry.source.gate.passing import passed
from medferry.source.session import pin_settings
from medferry.source.write_faults import RIGHTS, SCHEMA, RowConflict, WriterBlocked, WriteRefused, why_refused


def why_not(dialect: str) -> tuple[str, str] | None:
    """Problem and remedy where nothing is written back into an engine."""
    if dialect in _CLOCK:
        return None
    remedy = "Take the way back (@inverse) out, and enter in the legacy system by hand what Medplum's users change."
    return f"nothing is written back into {DIALECTS[dialect].title}.", remedy


@contextmanager
def writing_rows(
    engine: sa.Engine, entity: SourceEntity, through: Collection[str] = (), waits: bool = True
) -> Iterator[tuple[sa.Connection, str]]:
    """A transaction that reads as the reader's do, and the legacy system's own wall time, to the second."""
    name = engine.dialect.name
    if told := why_not(name):
        raise WriterBlocked(f"{entity.name} was not written: {told[0]}", told[1])
    options: dict[str, Any] = {} if name == "sqlite" else {"isolation_level": "READ COMMITTED"}
    try:
        with engine.connect().execution_options(**options) as connection:
            if name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            now = str(connection.scalar(sa.text(_CLOCK[name])))
            pin_settings(connection)
            if name in _PATIENCE:
                connection.exec_driver_sql((_PATIENCE if waits else _NO_PATIENCE)[name])
            with passed(connection, through):
                yield connection, now
            connection.commit()
    except DBAPIError as error:
        if error.connection_invalidated:
            raise SourceUnavailable(
                f"The legacy database was lost while {entity.name} was written ({state_of(error)}).",
                "Read the row again: it has all of the change or nothing of it.",
            ) from None
        if in_each_others_way(error):
            problem = f"Somebody else holds {entity.name} locked, or waits for what is held here ({code_of(error)})."
            raise RowConflict(problem, "Nothing was lost: the next cycle reads the row again.") from None
        why, remedy = why_refused(error)
        kind = WriterBlocked if (why, remedy) in (RIGHTS, SCHEMA) else WriteRefused
        raise kind(f"The legacy database {why} ({entity.name}, {state_of(error)}).", remedy) from None


_CLOCK = {
    "postgresql": "SELECT to_char(LOCALTIMESTAMP(0), 'YYYY-MM-DD HH24:MI:SS')",  # whatever the session's DateStyle
    "mysql": "SELECT CAST(LOCALTIMESTAMP(0) AS CHAR)",
    "mariadb": "SELECT CAST(LOCALTIMESTAMP(0) AS CHAR)",
    "sqlite": "SELECT datetime('now')",
}

_PATIENCE = {
    "postgresql": "SET LOCAL lock_timeout = '2s'",
    "mysql": "SET SESSION innodb_lock_wait_timeout = 2",
    "mariadb": "SET SESSION innodb_lock_wait_timeout = 2",
}
"""A user may hold a row for as long as a form is open: that one waits for the next cycle, and no other for it."""

_NO_PATIENCE = {
    "postgresql": "SET LOCAL lock_timeout = '1ms'",
    "mysql": "SET SESSION innodb_lock_wait_timeout = 1",
    "mariadb": "SET SESSION innodb_lock_wait_timeout = 1",
}
"""The least of each, for what a trigger or a foreign key locks besides; the rows themselves are asked for NOWAIT."""
