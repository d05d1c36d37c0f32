"""Open SQL Server and pin a session of it: a snapshot, settings that read and print one way, nothing hidden or masked.

SQL Server knows no read-only transaction: an account that may only read is what keeps it from being written, beside
that every transaction here is rolled back. Not run against a server here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from medferry.errors import SettingsError, SourceError
from medferry.source.faults import native_number

ODBC_DRIVER = "ODBC Driver 18 for SQL Server"
"""Whose documentation says how values arrive; the URL may name another (`?driver=…`)."""

OLDEST_VERSION = 13
"""SQL Server 2016: what is asked of masks, policies and the columns of a query is there from it on."""

SETTINGS: Mapping[str, str] = {
    "LANGUAGE": "us_english",
    "DATEFORMAT": "ymd",
    "DATEFIRST": "7",
    "TEXTSIZE": "2147483647",
    "ROWCOUNT": "0",
    "ANSI_NULLS": "ON",
    "ANSI_PADDING": "ON",
    "ANSI_WARNINGS": "ON",
    "ARITHABORT": "ON",
    "CONCAT_NULL_YIELDS_NULL": "ON",
    "QUOTED_IDENTIFIER": "ON",
    "NUMERIC_ROUNDABORT": "OFF",
}
"""In this order: a language sets date format and first day. ANSI_WARNINGS and ARITHABORT make errors of what is cut
off, overflows or is divided by 0."""

_EDITION = "CAST(SERVERPROPERTY('EngineEdition') AS int)"
LOOK = (
    f"SELECT CASE WHEN {_EDITION} IN (5, 8) THEN 16 ELSE CAST(SERVERPROPERTY('ProductMajorVersion') AS int) END "
    "AS version, d.snapshot_isolation_state AS snapshots, CASE WHEN d.is_in_standby = 1 "
    "OR (DATABASEPROPERTYEX(DB_NAME(), 'Updateability') = 'READ_ONLY' "
    f"AND (d.replica_id IS NOT NULL OR {_EDITION} = 5)) "
    "THEN 1 ELSE 0 END AS is_secondary FROM sys.databases AS d WHERE d.database_id = DB_ID()"
)
"""Azure's editions (5 and 8) are up to date, and call themselves version 12; log shipping makes a copy in standby."""

LOOK_FOR_HIDDEN = (
    "SELECT HAS_PERMS_BY_NAME(DB_NAME(), 'DATABASE', 'VIEW DEFINITION') AS may_look, "
    "HAS_PERMS_BY_NAME(DB_NAME(), 'DATABASE', 'UNMASK') AS sees_masked, "
    "(SELECT COUNT(*) FROM sys.masked_columns WHERE is_masked = 1) AS masked, "
    "(SELECT COUNT(*) FROM sys.security_policies AS p JOIN sys.security_predicates AS q ON q.object_id = p.object_id "
    "WHERE p.is_enabled = 1 AND q.predicate_type = 0) AS filters"
)
"""A second statement: SQL Server before 2016 does not know its tables."""


def require_driver() -> None:
    """Raise SettingsError where the driver is not installed."""
    try:
        import pyodbc  # noqa: F401
    except ImportError as error:
        what = "pyodbc is" if isinstance(error, ModuleNotFoundError) else "unixODBC, which pyodbc needs, is"
        raise SettingsError(
            f"{what} not installed: SQL Server cannot be read.",
            f"Install requirements-mssql.lock, and from the system unixODBC and Microsoft's {ODBC_DRIVER}.",
        ) from None


def with_defaults(url: sa.URL) -> sa.URL:
    """The URL with Microsoft's driver, where it names none and no connection string of its own."""
    if {"driver", "odbc_connect"} & url.query.keys() or not url.host:
        return url
    return url.update_query_dict({"driver": ODBC_DRIVER})


@dataclass(frozen=True, slots=True)
class _Fault:
    problem: str
    remedy: str


_Judge = Callable[[Mapping[str, Any]], Iterator[_Fault]]

_NO_SNAPSHOT = 3952
_SNAPSHOTS_OFF = _Fault(
    "The SQL Server database gives no consistent view: ALLOW_SNAPSHOT_ISOLATION is off.",
    "Have its administrator run ALTER DATABASE … SET ALLOW_SNAPSHOT_ISOLATION ON.",
)


def pin_session(connection: sa.Connection) -> None:
    """Pin the settings of a session whose transaction is a snapshot. Raises SourceError for what would read wrongly."""
    connection.exec_driver_sql("; ".join(f"SET {name} {value}" for name, value in SETTINGS.items()))
    looks: tuple[tuple[str, _Judge], ...] = ((LOOK, _faults), (LOOK_FOR_HIDDEN, _hidden))
    for look, judge in looks:
        try:
            told = dict(connection.exec_driver_sql(look).mappings().one())
        except DBAPIError as error:
            if native_number(error) != _NO_SNAPSHOT:
                raise
            raise SourceError(_SNAPSHOTS_OFF.problem, _SNAPSHOTS_OFF.remedy) from None
        for fault in judge(told):
            raise SourceError(fault.problem, fault.remedy)


def _faults(told: Mapping[str, Any]) -> Iterator[_Fault]:
    if (told["version"] or 0) < OLDEST_VERSION:
        yield _Fault(
            "SQL Server before 2016 is not read: it does not tell what would have to be known.",
            "Restore a backup of the database on a newer server, and read it there.",
        )
    if told["is_secondary"]:
        yield _Fault(
            "This is a secondary replica of the SQL Server database: how far it is behind is not known here.",
            "Read the primary: leave ApplicationIntent=ReadOnly out of the connection.",
        )
    if told["snapshots"] != 1:
        yield _SNAPSHOTS_OFF


def _hidden(told: Mapping[str, Any]) -> Iterator[_Fault]:
    if not told["may_look"]:
        yield _Fault(
            "The account may not see the SQL Server database's definition: rows could be hidden without a word.",
            "GRANT VIEW DEFINITION on the database to the account.",
        )
    if told["filters"]:
        yield _Fault(
            "A security policy of the SQL Server database filters rows: some could be hidden without a word.",
            "Read a restored copy in which it is off (ALTER SECURITY POLICY … WITH (STATE = OFF)).",
        )
    if told["masked"] and not told["sees_masked"]:
        yield _Fault(
            "The SQL Server database masks columns: the account would read other values than are stored.",
            "GRANT UNMASK on the database to the account.",
        )
