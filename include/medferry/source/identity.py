"""Which database this is, and how far it has come: what an engine tells of itself to an account that may only read.

A copy that was restored under the old name is told by its position, which has gone back. What no engine tells: a dump
that was read into another server looks like another database, though it is the same data; a copy that lives on, and is
written more than the original was since it was last read, is told on PostgreSQL alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from medferry.source.dialects import DIALECTS

T = TypeVar("T")

SQLITE_COUNTER = slice(24, 28)
"""Where a SQLite file counts the transactions that changed it (big-endian; in the WAL mode not each of them)."""
_INNODB_POSITIONS = "'Innodb_lsn_current', 'Innodb_redo_log_current_lsn'"
"""MariaDB's, and MySQL's from 8.0.30 on."""


_LONGEST = 64
"""Characters of a server's name as it is kept: a host's may have more."""
_LONGEST_PATH = 20
"""Of these for the schemas of a search path; a longer one is kept by its digest."""


@dataclass(frozen=True, slots=True)
class LegacyIdentity:
    """A database as it tells of itself; what the account may not read is left empty."""

    name: str
    """Engine and database, without host: it may be reached by several addresses."""
    server: str
    """What names the server and this history of it, in parts between colons; a part that is not told is empty."""
    position: int | None
    """A number that only grows as long as it is the same history; None where the engine tells none."""
    is_standby: bool = False
    """Whether it is a copy that follows another server, and may be behind it."""


def identity_of(connection: sa.Connection) -> LegacyIdentity:
    """Raises DBAPIError for nothing but a lost connection: what is refused is left empty."""
    # What streamed before leaves its option behind, and a savepoint can be no cursor.
    return _READERS[connection.dialect.name](connection.execution_options(stream_results=False))


def postgresql_server(connection: sa.Connection) -> tuple[str, str]:
    """(system identifier, timeline). A standby has both of its primary; a promotion or a restore begins a timeline.

    After a promotion the checkpoint's timeline is that of before until the next one is over, which may take minutes.
    """
    statement = (
        "SELECT s.system_identifier, greatest(c.timeline_id, r.min_recovery_end_timeline) "
        "FROM pg_control_system() s, pg_control_checkpoint() c, pg_control_recovery() r"
    )
    system, timeline = connection.execute(sa.text(statement)).one()
    return str(system), str(timeline)


def mysql_server(connection: sa.Connection) -> str:
    """MySQL's server_uuid; MariaDB has none, so what tells its servers apart."""
    row = connection.execute(sa.text("SHOW VARIABLES WHERE variable_name = 'server_uuid'")).one_or_none()
    otherwise = sa.text("SELECT CONCAT_WS('/', @@hostname, @@port, @@server_id)")
    return str(row[1] if row else connection.scalar(otherwise))


def differs(known: str, present: str) -> bool:
    """Whether two servers' names are of two: some part that both tell is not the same."""
    pairs = zip(known.split(":"), present.split(":"), strict=False)
    return any(before and now and before != now for before, now in pairs)


def completed(known: str, present: str) -> str:
    """A server's name in all parts that were ever told, where the two do not differ."""
    return ":".join(before or now for before, now in zip_longest(known.split(":"), present.split(":"), fillvalue=""))


def _postgresql(connection: sa.Connection) -> LegacyIdentity:
    name = str(connection.scalar(sa.text("SELECT current_database()")))
    system, timeline = _told(connection, postgresql_server, ("", ""))
    # A database that was dropped and restored under its name has another number.
    number = connection.scalar(sa.text("SELECT oid FROM pg_database WHERE datname = current_database()"))
    # Of two schemas with the same tables the search path takes one: the settings of an account, or of the URL.
    schemas = str(connection.scalar(sa.text("SELECT CAST(current_schemas(false) AS text)"))).replace(":", "")
    schemas = schemas if len(schemas) <= _LONGEST_PATH else hashlib.sha256(schemas.encode()).hexdigest()[:16]
    standby = bool(connection.scalar(sa.text("SELECT pg_is_in_recovery()")))
    position = "pg_last_wal_replay_lsn()" if standby else "pg_current_wal_lsn()"
    read = sa.text(f"SELECT CAST({position} - CAST('0/0' AS pg_lsn) AS bigint)")
    mark = _told(connection, lambda c: c.scalar(read), None)
    return LegacyIdentity(f"PostgreSQL {name}", f"{system}:{timeline}:{number}:{schemas}", mark, standby)


def _mysql(connection: sa.Connection) -> LegacyIdentity:
    name = connection.scalar(sa.text("SELECT DATABASE()")) or ""
    show = sa.text(f"SHOW GLOBAL STATUS WHERE variable_name IN ({_INNODB_POSITIONS})")
    row = _told(connection, lambda c: c.execute(show).first(), None)
    server = _told(connection, mysql_server, "").replace(":", "")
    server = server if len(server) <= _LONGEST else hashlib.sha256(server.encode()).hexdigest()
    return LegacyIdentity(f"MySQL {name}", server, int(row[1]) if row else None)


def _mssql(connection: sa.Connection) -> LegacyIdentity:
    """By its backup family and recovery fork, which a restore begins anew; how far it has come is not told."""
    name = str(connection.scalar(sa.text("SELECT DB_NAME()")))
    statement = sa.text(
        "SELECT CONVERT(nvarchar(36), family_guid), CONVERT(nvarchar(36), recovery_fork_guid) "
        "FROM sys.database_recovery_status WHERE database_id = DB_ID()"
    )
    row = _told(connection, lambda c: c.execute(statement).first(), None)
    return LegacyIdentity(f"SQL Server {name}", ":".join(part or "" for part in row or ("", "")), None)


def _sqlite(connection: sa.Connection) -> LegacyIdentity:
    """By its file's name, in whichever folder: a SQLite database has no name of its own."""
    path = next((row.file for row in connection.execute(sa.text("PRAGMA database_list")) if row.name == "main"), "")
    if not path:
        return LegacyIdentity("SQLite", "", None)
    with Path(path).open("rb") as file:
        head = file.read(SQLITE_COUNTER.stop)
    counted = int.from_bytes(head[SQLITE_COUNTER], "big") if len(head) == SQLITE_COUNTER.stop else None
    return LegacyIdentity(f"SQLite {Path(path).name}", "", counted)


_READERS: dict[str, Callable[[sa.Connection], LegacyIdentity]] = {
    "postgresql": _postgresql,
    "mysql": _mysql,
    "mariadb": _mysql,
    "sqlite": _sqlite,
    "mssql": _mssql,
}
assert _READERS.keys() == DIALECTS.keys()


def _told(connection: sa.Connection, read: Callable[[sa.Connection], T], otherwise: T) -> T:
    """What the engine tells, or `otherwise` where the account lacks a right or the engine the function."""
    try:
        with connection.begin_nested():
            return read(connection)
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        return otherwise
