"""What to say of a statement that the legacy database refused: the file and line that it is from, and why.

A driver's text is repeated where it can quote nothing but SQL: that somebody wrote into a file, and has to find there.
"""

from __future__ import annotations

import re
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from medferry.errors import SourceError
from medferry.source.faults import code_of, native_number, state_of

_MOST = 300
"""Characters of a driver's text."""

_PLACE = re.compile(r"/\* medferry: (?P<file>[^*\n]{1,200}) line (?P<line>\d+) \*/\n")


def placed(path: Path, line: int) -> str:
    """A comment that says where the statement behind it stands. It is in the text that a database is sent."""
    name = f"{path.parent.name}/{path.name}".replace("*", "").replace("\n", "")
    return f"/* medferry: {name} line {line} */\n"


OWN_NAMES = "Give each column a name of its own in the entity's SQL (… AS …)."
_GRANT = "Grant the account SELECT, and BYPASSRLS where row-level security would hide rows from it."
_WRITTEN = "Correct the SQL there: it is for this engine, and names are as the database has them."
_BY_HAND = "Try the entity's SQL by hand."

_REMEDIES: dict[str | None, str] = {
    "42501": _GRANT,
    "42S21": OWN_NAMES,
    "22P05": "A text has no equivalent in UTF-8: correct it, or cast its column in the entity's SQL.",
}
"""By SQLSTATE."""

_OWN_SQL = {1052, 1054, 1055, 1060, 1109, 1111, 1140, 1146, 1247, 1248, 1305, 1370, 1582, 1630, 4161}
"""MySQL and MariaDB: numbers of errors whose text names columns, tables and functions alone."""
_DENIED = {1142, 1143, 1044, 1227}
_SAME_NAMES = 1060
_SYNTAX = 1064
"""Its text quotes the statement, and the driver has put the values into that."""

_MSSQL_SQL = {102, 156, 195, 207, 208, 209, 1033, 4104, 4121, 8120, 8155, 8156}
"""SQL Server: numbers of errors whose text names columns, tables, functions and words of SQL alone."""
_MSSQL_NAMES = {8155, 8156}
"""A column without a name, or two of one."""
_MSSQL_DENIED = {229, 230, 297, 300, 916}
_MSSQL_TEXT = re.compile(r"\[SQL Server\](.+?)\s*\(\d+\) \(SQL", re.DOTALL)
_MSSQL_RIGHTS = "Grant the account SELECT on what the entity's SQL reads, and VIEW DEFINITION on the database."

_SQLITE = re.compile(
    r"no such (column|table|function|collation|module)|unrecognized token: \"[^\"]{0,80}\"|"
    r"near \"[^\"]{0,80}\": syntax error|ambiguous column name|"
    r"wrong number of arguments|misuse of (aggregate|window)|incomplete input|SELECTs to the left and right"
)


def refused(error: DBAPIError) -> SourceError:
    """The error to raise in place of the driver's."""
    text, remedy = _said(error)
    place = _place(error)
    where = f" of {place}" if place else ""
    problem = f"The legacy database refused a query{where} ({code_of(error) if text else state_of(error)})"
    return SourceError(f"{problem}{f': {text}' if text else ''}.", remedy)


def _said(error: DBAPIError) -> tuple[str, str]:
    """The driver's text, empty where it could quote a value, and what to do."""
    number = error.orig.args[0] if error.orig and error.orig.args else None
    if isinstance(number, int):
        return _said_by_mysql(error, number)
    if native := native_number(error):
        return _said_by_mssql(error, native)
    state = getattr(error.orig, "sqlstate", None)
    if isinstance(state, str):
        remedy = _REMEDIES.get(state, _WRITTEN if state.startswith("42") else _BY_HAND)
        message = getattr(getattr(error.orig, "diag", None), "message_primary", None) or ""
        return _bounded(message) if state.startswith("42") else "", remedy
    if isinstance(number, str) and _SQLITE.match(number):
        return _bounded(number), _WRITTEN
    return "", _BY_HAND


def _said_by_mysql(error: DBAPIError, number: int) -> tuple[str, str]:
    text = _bounded(str(error.orig.args[1])) if error.orig and len(error.orig.args) > 1 else ""
    if number in _DENIED:
        return text, _GRANT
    if number in _OWN_SQL or (number == _SYNTAX and not error.params):
        return text, OWN_NAMES if number == _SAME_NAMES else _WRITTEN
    if number == _SYNTAX:
        return "a syntax error, whose text would quote values", _WRITTEN
    return "", _REMEDIES.get(getattr(error.orig, "sqlstate", None), _BY_HAND)


def _said_by_mssql(error: DBAPIError, number: int) -> tuple[str, str]:
    told = _MSSQL_TEXT.search(str(error.orig))
    text = _bounded(told[1]) if told else ""
    if number in _MSSQL_DENIED:
        return text, _MSSQL_RIGHTS
    if number in _MSSQL_SQL:
        return text, OWN_NAMES if number in _MSSQL_NAMES else _WRITTEN
    return "", _BY_HAND


def _bounded(text: str) -> str:
    """One line, without signs that a terminal obeys."""
    line = " ".join(text.split())
    printable = "".join(sign if sign.isprintable() else "?" for sign in line)
    return printable[:_MOST].rstrip(". ")


def _place(error: DBAPIError) -> str:
    """File, and the line of it that the driver tells, else that in which the statement begins; empty if unknown."""
    statement = error.statement or ""
    found = _PLACE.search(statement)
    if found is None:
        return ""
    first, begins = int(found["line"]), statement.count("\n", 0, found.end()) + 1
    told = re.search(r"^LINE (\d+):|at line (\d+)$", str(error.orig).rstrip("\"')"), re.MULTILINE)
    line = first + int(told[1] or told[2]) - begins if told else first
    return f"{found['file']}:{line if line >= first else first}"
