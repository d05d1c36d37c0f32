"""Why a legacy database cannot be opened: told by the driver's error, of which nothing is repeated."""

from __future__ import annotations

import re
from enum import StrEnum

from sqlalchemy.exc import DBAPIError

from medferry.errors import MedferryError, SettingsError, SourceUnavailable


class _Why(StrEnum):
    ACCOUNT = "refused the account or its password"
    DATABASE = "has no database of that name"
    CERTIFICATE = "has a certificate that is not trusted"
    OURS = "wants a certificate of Medferry's that it trusts"
    NO_TLS = "offers no TLS, which its connection asks for"
    DRIVER = "cannot be opened: its ODBC driver is not installed on this machine"
    SILENT = "did not answer"


_TLS = {
    _Why.OURS: re.compile(r"valid client certificate|alert (certificate required|unknown ca|bad certificate)", re.I),
    _Why.CERTIFICATE: re.compile(
        r"certificate.verify.failed|self.signed certificate|certificate for .* does not match|"
        r"root certificate file .* does not exist",
        re.IGNORECASE,
    ),
    _Why.NO_TLS: re.compile(r"(does not|doesn't) support SSL|SSL is required|encryption not supported", re.I),
}
"""Of every driver: they repeat OpenSSL's words, or libpq's."""

_POSTGRESQL = {
    _Why.ACCOUNT: re.compile(r"authentication failed|no password|pg_hba\.conf|role \S+ (does|is) not"),
    _Why.DATABASE: re.compile(r"database \S+ does not exist"),
}
"""Before a session begins, libpq gives no SQLSTATE but only a text."""

_MYSQL = {1044: _Why.ACCOUNT, 1045: _Why.ACCOUNT, 1698: _Why.ACCOUNT, 1049: _Why.DATABASE}
"""By the server's error number."""

_MSSQL = {18456: _Why.ACCOUNT, 18452: _Why.ACCOUNT, 4060: _Why.DATABASE, 911: _Why.DATABASE}
"""By the server's error number."""

_REMEDIES = {
    _Why.ACCOUNT: "Check user and password of its connection, and that the account may log in from here.",
    _Why.DATABASE: "Check the name (or the file) in its connection.",
    _Why.CERTIFICATE: "Name the file of the authority that signed it, and the host as the certificate has it "
    "(docs/runbooks/tls.md).",
    _Why.OURS: "Give its connection the files of a certificate and its key (docs/runbooks/tls.md).",
    _Why.NO_TLS: "Turn TLS on in the database; no plain connection is made in its place.",
    _Why.DRIVER: "Install it, or name the one that is there in the URL (`?driver=…`); `odbcinst -q -d` lists them.",
    _Why.SILENT: "Check host and port of its connection and that it runs, then run again.",
}


def not_opened(error: DBAPIError) -> MedferryError:
    """SettingsError where account or name are wrong, else SourceUnavailable: then trying again may help."""
    why = _why(error)
    kind = SourceUnavailable if why is _Why.SILENT else SettingsError
    return kind(f"The legacy database {why} ({state_of(error)}).", _REMEDIES[why])


def _why(error: DBAPIError) -> _Why:
    name, text = type(error.orig).__module__.partition(".")[0], str(error.orig)
    if tls := next((why for why, pattern in _TLS.items() if pattern.search(text)), None):
        return tls
    if name == "psycopg":
        return next((why for why, pattern in _POSTGRESQL.items() if pattern.search(text)), _Why.SILENT)
    if name == "pymysql":
        return _MYSQL.get(error.orig.args[0] if error.orig and error.orig.args else 0, _Why.SILENT)
    if name == "pyodbc":
        no_driver = "Can't open lib" in text or "IM002" in text
        return _Why.DRIVER if no_driver else _MSSQL.get(native_number(error), _Why.SILENT)
    return _Why.DATABASE if "unable to open database file" in text else _Why.SILENT


def state_of(error: DBAPIError) -> str:
    """The driver's exception type and SQLSTATE; never its text, which may quote a row."""
    state = getattr(error.orig, "sqlstate", None) or native_number(error)
    return f"{type(error.orig).__name__} {state}" if state else type(error.orig).__name__


_NATIVE = re.compile(r"\((\d+)\) \(SQL\w+\)")


def native_number(error: DBAPIError) -> int:
    """SQL Server's own number of an error, which pyodbc gives in its text alone; 0 of any other driver."""
    if type(error.orig).__module__ != "pyodbc":
        return 0
    found = _NATIVE.search(str(error.orig))
    return int(found[1]) if found else 0


_BUSY_STATES = frozenset({"40001", "40P01", "55P03"})
"""PostgreSQL: not serializable, deadlock, lock not available."""

BUSY_NUMBERS = frozenset({1205, 1213, 1020, 1467})
"""MySQL and MariaDB: lock wait timeout, deadlock, a record that changed since it was read; and of an AUTO_INCREMENT,
whose lock an INSERT … SELECT holds (a trigger's, say), that it was not waited for."""

_BUSY_MSSQL = frozenset({1205, 1222, 3960, 3961})
"""SQL Server: deadlock, lock request time out, update conflict and changed definition under a snapshot."""

_BUSY_SQLITE = frozenset({5, 6})
"""SQLITE_BUSY, SQLITE_LOCKED."""


def in_each_others_way(error: DBAPIError) -> bool:
    """Whether the statement was refused because of other transactions alone: the same may succeed in a moment."""
    number = error.orig.args[0] if error.orig and error.orig.args else None
    return (
        getattr(error.orig, "sqlstate", None) in _BUSY_STATES
        or (isinstance(number, int) and number in BUSY_NUMBERS)
        or native_number(error) in _BUSY_MSSQL
        or getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _BUSY_SQLITE
    )


def busy(error: DBAPIError) -> SourceUnavailable:
    """What to raise of such an error."""
    problem = f"The legacy database was busy: transactions were in each other's way ({code_of(error)})."
    return SourceUnavailable(problem, "Nothing was lost: try again.")


def code_of(error: DBAPIError) -> str:
    """The driver's exception type and its SQLSTATE or number; never its text, which may quote a row."""
    number = getattr(error.orig, "args", [""])[0]
    state = number if isinstance(number, int) else getattr(error.orig, "sqlstate", None) or native_number(error) or ""
    return f"{type(error.orig).__name__} {state}".strip()
