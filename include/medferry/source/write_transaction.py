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
    engine: sa.Engine, entity: SourceEntity, through: Collection[str] = ()
) -> Iterator[tuple[sa.Connection, str]]:
    """A transaction that reads as the reader's do, and the legacy system's own wall time, to the second.

    It waits for nothing that somebody else holds, but raises RowConflict: who wants what it holds would wait for
    whatever it waits for, and of two who each hold what the other wants the database ends one transaction, which is to
    be ours. On MySQL it waits for a second, the least there.
    """
    name = engine.dialect.name
    if told := why_not(name):
        raise WriterBlocked(f"{entity.name} was not written: {told[0]}", told[1])
    options: dict[str, Any] = {} if name == "sqlite" else {"isolation_level": "READ COMMITTED"}
    try:
        with engine.connect().execution_options(**options) as connection:
            if name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")  # holds nothing: another writer is waited for here
            now = str(connection.scalar(sa.text(_CLOCK[name])))
            pin_settings(connection)
            with _without_patience(connection):
                with passed(connection, through):
                    yield connection, now
                connection.commit()  # with the gates closed again
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

_MARIADB = "mariadb"
"""From 10.3, by whichever name it is connected to."""

_NO_PATIENCE = {
    # A user whose own wait has lasted for a second looks for a deadlock, and ends his own transaction: by then ours is
    # to be over, whenever it began to wait.
    "postgresql": "SET LOCAL lock_timeout = '10ms'",
    "mysql": "SET SESSION innodb_lock_wait_timeout = 1, lock_wait_timeout = 1",
    _MARIADB: "SET SESSION innodb_lock_wait_timeout = 0, lock_wait_timeout = 0",
    "sqlite": "PRAGMA busy_timeout = 100",  # its COMMIT waits for readers, and lets no other begin meanwhile
}
"""A user may hold a row for as long as a form is open: that one is left to the next cycle. Readers set their own
patience again when they pin their settings; SQLite's is put back."""


def waits_for_nobody(engine: sa.Engine) -> bool:
    """Whether a transaction that holds several rows keeps nobody waiting. To be asked once it was connected to."""
    return _kind(engine.dialect) != "mysql"


@contextmanager
def _without_patience(connection: sa.Connection) -> Iterator[None]:
    kind, driver = _kind(connection.dialect), connection.connection.driver_connection
    usual = connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() if kind == "sqlite" else None
    connection.exec_driver_sql(_NO_PATIENCE[kind])
    try:
        yield
    finally:
        if usual is not None and driver is not None:
            driver.rollback()  # a COMMIT that was refused for its readers leaves the transaction open
            driver.execute(f"PRAGMA busy_timeout = {usual}")


def _kind(dialect: sa.Dialect) -> str:
    if dialect.name not in ("mysql", "mariadb"):
        return dialect.name
    version = getattr(dialect, "server_version_info", None) or ()
    return _MARIADB if getattr(dialect, "is_mariadb", False) and version >= (10, 3) else "mysql"
