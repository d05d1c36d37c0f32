"""A stand-in for SQL Server behind pyodbc: what it is sent is read as T-SQL, run on SQLite, answered as pyodbc would.

It refuses what SQL Server refuses and SQLite does not (an ORDER BY or WITH inside a derived table, an order by a
constant), tells the columns of a query by their declared types, and gives dates of six digits, whatever is stored.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from types import ModuleType
from typing import Any

import sqlglot
from sqlglot import exp

from medferry.source import sqlserver
from medferry.source.types.mssql import TYPES

Types = dict[str, dict[str, str]]
"""Table → column → SQL Server's name of its type."""

HEALTHY = {"version": 15, "snapshots": 1, "is_secondary": 0, "may_look": 1, "sees_masked": 0, "masked": 0, "filters": 0}


class Error(Exception):
    """pyodbc's; args are SQLSTATE and a text with the server's number."""


def refusal(number: int, text: str, state: str = "42000") -> Error:
    driver = "[Microsoft][ODBC Driver 18 for SQL Server][SQL Server]"
    return Error(state, f"[{state}] {driver}{text} ({number}) (SQLExecDirectW)")


class FakeSqlServer(ModuleType):
    """The module ``pyodbc`` with one server behind it."""

    paramstyle, apilevel, threadsafety, version = "qmark", "2.0", 1, "5.5.0"
    SQL_CHAR, SQL_WCHAR, SQL_VARCHAR, SQL_WVARCHAR = 1, -8, 12, -9
    Error = DatabaseError = OperationalError = ProgrammingError = InterfaceError = Error
    Binary = bytes
    STRING, NUMBER, DATETIME, BINARY, ROWID = str, Decimal, datetime, bytes, str

    def __init__(self, types: Types) -> None:
        super().__init__("pyodbc")
        self.types, self.told = types, dict(HEALTHY)
        self.sent: list[str] = []
        """Every statement, as it came."""
        self.decodings: dict[int, str] = {}
        self.connected: list[str] = []
        self.store = sqlite3.connect(":memory:", check_same_thread=False)
        self.store.create_function("datalength", 1, _datalength, deterministic=True)

    def connect(self, *parts: str, **_: Any) -> Connection:
        self.connected.extend(parts)
        return Connection(self)

    def Cursor(self) -> Cursor:  # noqa: N802 - pyodbc's name
        return Cursor(self)

    def looked(self, sql: str) -> tuple[Sequence[str], Sequence[tuple[Any, ...]]]:
        names = re.findall(rf"AS ({'|'.join(HEALTHY)})\b", sql)
        return names, [tuple(self.told[name] for name in names)]


def _datalength(value: Any) -> int | None:
    if value is None:
        return None
    return len(value) if isinstance(value, bytes) else len(str(value).encode("utf-16-le", "surrogatepass"))


class Connection:
    def __init__(self, server: FakeSqlServer) -> None:
        self.server, self.autocommit = server, False

    def cursor(self) -> Cursor:
        return Cursor(self.server)

    def setdecoding(self, sql_type: int, encoding: str, ctype: int) -> None:
        assert ctype == self.server.SQL_WCHAR
        self.server.decodings[sql_type] = encoding

    def add_output_converter(self, sql_type: int, converter: Callable[[bytes], Any]) -> None:
        pass

    def commit(self) -> None:
        pass

    rollback = close = commit


Error.__module__ = Connection.__module__ = "pyodbc"


class Cursor:
    arraysize, rowcount = 1, -1

    def __init__(self, server: FakeSqlServer) -> None:
        self.server, self.description = server, None
        self.rows: Iterator[tuple[Any, ...]] = iter(())

    def execute(self, sql: str, *parameters: Any) -> Cursor:
        values = list(parameters[0] if parameters and isinstance(parameters[0], (list, tuple)) else parameters)
        self.server.sent.append(sql)
        names, rows = self._answer(sql, values)
        self.description = [(name, str, None, None, None, None, True) for name in names] or None  # type: ignore[assignment]
        self.rows = iter(rows)
        return self

    def _answer(self, sql: str, values: list[Any]) -> tuple[Sequence[str], Sequence[tuple[Any, ...]]]:
        if sql.startswith(("SET ", "SAVE ", "ROLLBACK", "IF @@TRANCOUNT")):
            return (), ()
        if "dm_exec_describe_first_result_set" in sql:
            return ("name", "system_type_name", "user_type_name", "error_number"), described(self.server, values[0])
        if sql in (sqlserver.LOOK, sqlserver.LOOK_FOR_HIDDEN):
            return self.server.looked(sql)
        own = _OWN.get(next((word for word in _OWN if word in sql), ""))
        return (("answer",), [(own,)]) if own is not None else run(self.server, sql, values)

    def setinputsizes(self, sizes: Any) -> None:
        pass

    def fetchone(self) -> tuple[Any, ...] | None:
        return next(self.rows, None)

    def fetchall(self) -> list[tuple[Any, ...]]:
        return list(self.rows)

    def fetchmany(self, size: int = 1) -> list[tuple[Any, ...]]:
        return [row for _, row in zip(range(size), self.rows, strict=False)]

    def nextset(self) -> bool:
        return False

    def close(self) -> None:
        pass


_OWN = {"schema_name()": "dbo", "ProductVersion": "15.0.4000.1", "max support": "x", "DB_NAME()": "legacy",
        "system_views": "dm_exec_sessions", "transaction_isolation_level": "READ COMMITTED", "SELECT 1": 1}  # fmt: skip
"""What SQLAlchemy asks by itself."""


def parsed(sql: str) -> exp.Query:
    """One statement of T-SQL, without what SQL Server takes nowhere."""
    (tree,) = sqlglot.parse(sql, read="tsql")
    assert isinstance(tree, exp.Query), sql
    for derived in tree.find_all(exp.Subquery):
        inner = derived.this
        if inner.args.get("order") and not inner.args.get("limit"):
            raise refusal(1033, "The ORDER BY clause is invalid in views, inline functions, derived tables")
        if inner.args.get("with_") or inner.args.get("with"):
            raise refusal(156, "Incorrect syntax near the keyword 'WITH'.")
    for window in tree.find_all(exp.Window):
        order = window.args.get("order")
        assert order and not any(isinstance(one.this, (exp.Literal, exp.Null)) for one in order.expressions), sql
    return tree


def run(server: FakeSqlServer, sql: str, values: list[Any]) -> tuple[Sequence[str], Sequence[tuple[Any, ...]]]:
    tree = parsed(sql)
    kinds = [kind for _, kind in columns_of(server, tree)]
    plain = tree.transform(_on_sqlite).sql("sqlite")
    bound = [str(one) if isinstance(one, Decimal) else one for one in values]
    try:
        found = server.store.execute(plain, bound)
    except sqlite3.Error as error:
        missing = re.match(r"no such (table|column): (.*)", str(error))
        number = {"table": 208, "column": 207}[missing[1]] if missing else 50_000
        raise refusal(number, f"Invalid {missing[1]} name '{missing[2]}'." if missing else str(error)) from None
    names = [column[0] for column in found.description]
    return names, [tuple(as_pyodbc(*one) for one in zip(row, kinds, strict=True)) for row in found]


def _on_sqlite(node: exp.Expression) -> exp.Expression:
    """Casts without length and style, and money as SQL Server prints it: what is stored is the text already."""
    if isinstance(node, (exp.Cast, exp.Convert)):
        target = node.args["to"] if isinstance(node, exp.Cast) else node.this
        value = node.this if isinstance(node, exp.Cast) else node.expression
        if isinstance(value, (exp.TimeToStr, exp.StrToTime)):  # how sqlglot reads a CONVERT with a style
            value = value.this
        kind = "BLOB" if "BINARY" in target.sql("tsql").upper() else "TEXT"
        return exp.Cast(this=value.copy(), to=exp.DataType.build(kind))
    return node


def described(server: FakeSqlServer, sql: str) -> list[tuple[Any, ...]]:
    """Rows of sys.dm_exec_describe_first_result_set; one with a number where the statement is wrong."""
    assert "?" not in re.sub(r"'[^']*'", "", sql), sql
    try:
        tree = parsed(sql)
        server.store.execute(f"EXPLAIN {tree.transform(_on_sqlite).sql('sqlite')}")
    except (sqlite3.Error, Error):
        return [(None, None, None, 11529)]
    return [
        (name, *((kind, None) if kind.partition("(")[0] in TYPES else (None, kind)), None)
        for name, kind in columns_of(server, tree)
    ]


def columns_of(server: FakeSqlServer, tree: exp.Query) -> list[tuple[str, str]]:
    """(name, SQL Server's type) of each column of a query, by the declared types of the tables."""
    sources: dict[str, dict[str, str]] = {}
    for table in [tree.args.get("from_") or tree.args.get("from"), *(tree.args.get("joins") or ())]:
        if table is None:
            continue
        inner = table.this
        if isinstance(inner, exp.Subquery):
            sources[inner.alias] = dict(columns_of(server, inner.this))
        else:
            sources[inner.alias or inner.name] = server.types.get(inner.name, {})
    if isinstance(tree, exp.SetOperation):
        return columns_of(server, tree.this)
    found: list[tuple[str, str]] = []
    for one in tree.expressions:
        if one.is_star:
            wanted = sources.values() if isinstance(one, exp.Star) else [sources[one.table]]
            found.extend(pair for source in wanted for pair in source.items())
        else:
            found.append((one.alias_or_name, _type_of(one.unalias(), sources)))
    return found


def _type_of(one: exp.Expression, sources: dict[str, dict[str, str]]) -> str:
    if isinstance(one, exp.Column):
        within = [sources[one.table]] if one.table else sources.values()
        return next((source[one.name] for source in within if one.name in source), "int")
    if isinstance(one, exp.Cast):
        return one.args["to"].sql("tsql").lower()
    if isinstance(one, exp.Convert):
        return one.this.sql("tsql").lower()
    if isinstance(one, (exp.Min, exp.Max, exp.Trim)):
        return _type_of(one.this, sources)
    return "nvarchar(100)" if isinstance(one, exp.Literal) and one.is_string else "int"


def as_pyodbc(value: Any, kind: str) -> Any:
    """A value as pyodbc gives it: dates of at most six digits, exact numbers as Decimal, code pages as nobody knows."""
    name = kind.partition("(")[0]
    if value is None:
        return None
    if name in ("datetime2", "datetime", "datetimeoffset", "smalldatetime"):
        return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", value).replace(" +", "+"))
    if name in ("decimal", "numeric", "money", "smallmoney"):
        return Decimal(str(value))
    if name in ("char", "varchar", "text"):
        return f"{value} in the encoding of a locale"
    return bool(value) if name == "bit" else value
