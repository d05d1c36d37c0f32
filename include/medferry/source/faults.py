"""Why a legacy database cannot be opened: told by the driver's error, of which nothing is repeated."""

from __future__ import annotations

import re
from enum import StrEnum

from sqlalchemy.exc import DBAPIError

from medferry.errors import MedferryError, SettingsError, SourceUnavailable


class _Why(StrEnum):
    ACCOUNT = "refused the account or its password"
    DATABASE = "has no database of that name"
    SILENT = "did not answer"


_POSTGRESQL = {
    _Why.ACCOUNT: re.compile(r"authentication failed|no password|pg_hba\.conf|role \S+ (does|is) not"),
    _Why.DATABASE: re.compile(r"database \S+ does not exist"),
}
"""Before a session begins, libpq gives no SQLSTATE but only a text."""

_MYSQL = {1044: _Why.ACCOUNT, 1045: _Why.ACCOUNT, 1698: _Why.ACCOUNT, 1049: _Why.DATABASE}
"""By the server's error number."""

_REMEDIES = {
    _Why.ACCOUNT: "Check user and password of its connection, and that the account may log in from here.",
    _Why.DATABASE: "Check the name (or the file) in its connection.",
    _Why.SILENT: "Check host and port of its connection and that it runs, then run again.",
}


def not_opened(error: DBAPIError) -> MedferryError:
    """SettingsError where account or name are wrong, else SourceUnavailable: then trying again may help."""
    why = _why(error)
    kind = SourceUnavailable if why is _Why.SILENT else SettingsError
    return kind(f"The legacy database {why} ({state_of(error)}).", _REMEDIES[why])


def _why(error: DBAPIError) -> _Why:
    name, text = type(error.orig).__module__.partition(".")[0], str(error.orig)
    if name == "psycopg":
        return next((why for why, pattern in _POSTGRESQL.items() if pattern.search(text)), _Why.SILENT)
    if name == "pymysql":
        return _MYSQL.get(error.orig.args[0] if error.orig and error.orig.args else 0, _Why.SILENT)
    return _Why.DATABASE if "unable to open database file" in text else _Why.SILENT


def state_of(error: DBAPIError) -> str:
    """The driver's exception type and SQLSTATE; never its text, which may quote a row."""
    state = getattr(error.orig, "sqlstate", None)
    return f"{type(error.orig).__name__} {state}" if state else type(error.orig).__name__


_BUSY_STATES = frozenset({"40001", "40P01", "55P03"})
"""PostgreSQL: not serializable, deadlock, lock not available."""

_BUSY_NUMBERS = frozenset({1205, 1213, 1020})
"""MySQL and MariaDB: lock wait timeout, deadlock, a record that changed since it was read."""

_BUSY_SQLITE = frozenset({5, 6})
"""SQLITE_BUSY, SQLITE_LOCKED."""


def in_each_others_way(error: DBAPIError) -> bool:
    """Whether the statement was refused because of other transactions alone: the same may succeed in a moment."""
    number = error.orig.args[0] if error.orig and error.orig.args else None
    return (
        getattr(error.orig, "sqlstate", None) in _BUSY_STATES
        or (isinstance(number, int) and number in _BUSY_NUMBERS)
        or getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _BUSY_SQLITE
    )


def busy(error: DBAPIError) -> SourceUnavailable:
    """What to raise of such an error."""
    problem = f"The legacy database was busy: transactions were in each other's way ({code_of(error)})."
    return SourceUnavailable(problem, "Nothing was lost: try again.")


def code_of(error: DBAPIError) -> str:
    """The driver's exception type and its SQLSTATE or number; never its text, which may quote a row."""
    number = getattr(error.orig, "args", [""])[0]
    state = number if isinstance(number, int) else getattr(error.orig, "sqlstate", None) or ""
    return f"{type(error.orig).__name__} {state}".strip()
