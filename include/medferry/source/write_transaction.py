"""A transaction that writes into the legacy database. Its account is one that may: the reader's sessions may not."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
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
    """A transaction that reads as the reader's do, and the legacy system's own wall time, to the second.

    It waits for two seconds for what somebody else holds, until it is `holding` something itself; without `waits`, at
    no time.
    """
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
            _set(connection, _PATIENCE if waits else _HOLDING)
            with passed(connection, through):
                if through:
                    holding(connection)
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

_WITHOUT_WAITING = "mariadb"
"""MariaDB from 10.3, by whichever name it is connected to: MySQL waits for a second at least."""

_PATIENCE = {
    "postgresql": "SET LOCAL lock_timeout = '2s'",
    "mysql": "SET SESSION innodb_lock_wait_timeout = 2, lock_wait_timeout = 2",
    _WITHOUT_WAITING: "SET SESSION innodb_lock_wait_timeout = 2, lock_wait_timeout = 2",
}
"""A user may hold a row for as long as a form is open: that one waits for the next cycle, and no other for it."""

_HOLDING = {
    "postgresql": "SET LOCAL lock_timeout = '100ms'",  # a tenth of the time after which it looks for deadlocks
    "mysql": "SET SESSION innodb_lock_wait_timeout = 1, lock_wait_timeout = 1",
    _WITHOUT_WAITING: "SET SESSION innodb_lock_wait_timeout = 0, lock_wait_timeout = 0",
}


def holding(connection: sa.Connection) -> None:
    """To be said once something is locked: from then on the transaction waits for nobody, on MySQL for a second.

    A user who wants what it holds would wait for whatever it waits for; and of two who each hold what the other wants
    the database ends one transaction, which is to be ours.
    """
    _set(connection, _HOLDING)


def waits_for_nobody(engine: sa.Engine) -> bool:
    """Whether a transaction that holds something can be kept from waiting. To be asked once it was connected to."""
    return engine.dialect.name not in _PATIENCE or _kind(engine.dialect) != "mysql"


def _set(connection: sa.Connection, by_kind: Mapping[str, str]) -> None:
    if statement := by_kind.get(_kind(connection.dialect)):
        connection.exec_driver_sql(statement)


def _kind(dialect: sa.Dialect) -> str:
    if dialect.name not in ("mysql", "mariadb"):
        return dialect.name
    version = getattr(dialect, "server_version_info", None) or ()
    return _WITHOUT_WAITING if getattr(dialect, "is_mariadb", False) and version >= (10, 3) else "mysql"
