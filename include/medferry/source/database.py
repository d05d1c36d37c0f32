"""Connect to the legacy database and stream from it, every value in a form that loses nothing (`source.types`).

Dates and times come as the engine prints them (an engine holds values that no Python date can: 0000-00-00,
infinity, 30 February as text), decimals as text, undecodable bytes of a text as lone surrogates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.exc import DBAPIError, NoSuchModuleError

from medferry.errors import SettingsError, SourceError
from medferry.source import sqlserver
from medferry.source.address import database_url, unusable
from medferry.source.dialects import DIALECTS, NOT_READ, titles
from medferry.source.faults import busy, in_each_others_way, not_opened
from medferry.source.refused import OWN_NAMES, refused
from medferry.source.session import pinned, refuse_warnings
from medferry.source.types import mssql, mysql, postgresql, sqlite
from medferry.source.types.canonical import Column, Convert

_FETCH_ROWS = 1_000
_STREAMING = {"stream_results": True, "max_row_buffer": _FETCH_ROWS}
"""Of a statement, never of the connection: a cursor cannot be declared for what ends a savepoint."""

Statement = sa.Select[*tuple[Any, ...]] | sa.TextClause


def connect_engine(url: str, arguments: Mapping[str, Any] | None = None) -> sa.Engine:
    """An engine for a SQLAlchemy URL; `arguments` are for the driver's ``connect``.

    Raises SettingsError for a URL that cannot be one, or of an engine that is not read.
    """
    try:
        parsed = database_url(url, "the legacy database")
        _refuse_unknown(parsed.get_backend_name())
        address = _with_driver(parsed)
        given = dict(arguments or {})
        if address.drivername == DIALECTS["postgresql"].url:
            given.setdefault("client_encoding", "utf8")  # in SQL_ASCII, psycopg would give bytes to SQLAlchemy
            given.setdefault("prepare_threshold", None)  # a pool between may hand each transaction another session
        engine = sa.create_engine(address, pool_pre_ping=True, connect_args=given)
    except (sa.exc.ArgumentError, NoSuchModuleError, ModuleNotFoundError, ValueError):
        raise unusable("the legacy database") from None
    known = DIALECTS.get(engine.dialect.name)
    if known is None or engine.dialect.driver != known.driver:
        raise SettingsError(
            f"The driver {engine.dialect.driver} of the legacy database's URL is not known: it could change values.",
            f"Name no driver in the URL: {', '.join(f'{name}://' for name in DIALECTS)} is enough.",
        )
    sa.event.listen(engine, "connect", _keep_raw_values)
    if isinstance(engine.dialect, PGDialect):
        engine.dialect.inspector = postgresql.Inspector
    return engine


_ALIASES = {"postgres": "postgresql"}


def _refuse_unknown(name: str) -> None:
    """Raise SettingsError for an engine without a table of types: nobody has seen its values arrive."""
    if title := NOT_READ.get(name):
        raise SettingsError(
            f"{title} is not read: there is no table of its types, so that a value could arrive changed.",
            f"Copy the tables into one of {titles()}, and read them there.",
        )


def _with_driver(parsed: sa.URL) -> sa.URL:
    """Choose the drivers of `DIALECTS` when the URL names none. Raises SettingsError where one is not installed."""
    known = DIALECTS.get(_ALIASES.get(parsed.drivername, parsed.drivername))
    parsed = parsed.set(drivername=known.url) if known else parsed
    if parsed.drivername == DIALECTS["mssql"].url:
        sqlserver.require_driver()
        return sqlserver.with_defaults(parsed)
    return parsed.update_query_dict({"charset": "utf8mb4"}) if known and known.driver == "pymysql" else parsed


def _keep_raw_values(connection: Any, _record: Any) -> None:
    """Have the driver give the engine's own text instead of Python dates and decimals."""
    tables = {"psycopg": postgresql, "pymysql": mysql, "sqlite3": sqlite, "pyodbc": mssql}
    table = tables.get(type(connection).__module__.partition(".")[0])
    if table is not None:
        table.keep_text(connection)


@contextmanager
def snapshot(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A read-only connection with one consistent view of the database, pinned, for as long as it is open.

    Raises SourceUnavailable when the database does not answer or others are in the way, SourceError when it refuses a
    statement, SettingsError for a file of SQLite that is not there.
    """
    _require_file(engine)
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(pinned(engine))
        except DBAPIError as error:
            raise not_opened(error) from None
        with _told():
            yield connection


def _require_file(engine: sa.Engine) -> None:
    """SQLite would make an empty database of a mistyped name, in which no table is found. Raises SettingsError."""
    name = engine.url.database or ":memory:"
    if engine.dialect.name == "sqlite" and not name.startswith((":memory:", "file:")) and not Path(name).is_file():
        raise SettingsError(
            f"There is no file {name} with the legacy database.",
            "Correct the URL: sqlite:///… is relative to where the command runs, sqlite:////… from the root.",
        )


@contextmanager
def set_apart(connection: sa.Connection) -> Iterator[None]:
    """What the database refuses within leaves the connection's view as it was. Raises as `snapshot`."""
    with _told(), connection.begin_nested():
        yield


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except UnicodeEncodeError:
        raise SourceError(
            "A query holds a character that the legacy database's encoding lacks.",
            "Leave it out of the entity's SQL, its comments too.",
        ) from None
    except DBAPIError as error:
        if error.connection_invalidated:
            raise not_opened(error) from None
        if in_each_others_way(error):
            raise busy(error) from None
        raise refused(error) from None


def stream(connection: sa.Connection, statement: Statement, values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows as dicts of JSON values, through a server-side cursor where the engine has one.

    Raises SourceError before the first row when two columns have one name, or one a type that is not read, and after
    the last when the database warned that a value is not what is stored.
    """
    result, columns = _executed(connection, statement, values)
    names = [column.name for column in columns]
    _refuse_same_names(names)
    converted = [(column.name, column.convert) for column in columns if column.convert]
    for chunk in result.partitions(_FETCH_ROWS):
        for row in chunk:
            yield _row(names, row, converted)
    refuse_warnings(connection)


def _executed(
    connection: sa.Connection, statement: Statement, values: Mapping[str, Any]
) -> tuple[sa.CursorResult[Any], list[Column]]:
    dialect = connection.dialect.name
    if dialect in ("mysql", "mariadb"):
        statement, floats = mysql.exact(connection, statement, values)
        result = connection.execute(statement, values, execution_options=_STREAMING)
        return result, mysql.columns(result, floats)
    if dialect == "mssql":
        statement, fetched = mssql.exact(connection, statement)
        return connection.execute(statement, values, execution_options=_STREAMING), fetched
    result = connection.execute(statement, values, execution_options=_STREAMING)
    assert result.cursor is not None
    if dialect == "postgresql":
        return result, postgresql.columns(connection, result.cursor.description)
    if dialect == "sqlite":
        return result, sqlite.columns([column[0] for column in result.cursor.description])
    raise SourceError(f"There is no table of types for {dialect}.", f"Use {titles()}.")


def _row(names: Sequence[str], row: Sequence[Any], converted: Sequence[tuple[str, Convert]]) -> dict[str, Any]:
    values = dict(zip(names, row, strict=True))
    for name, convert in converted:
        value = values[name]
        if value is not None:
            values[name] = convert(value)
    return values


def _refuse_same_names(names: Sequence[str]) -> None:
    """SQLite calls the second column of a name ``name:1`` where it selects from a SELECT."""
    seen: set[str] = set()
    for name in names:
        plain, colon, number = name.rpartition(":")
        if name in seen or (colon and number.isdecimal() and plain in seen):
            problem = f"The query has two columns of the name {plain or name}: one would be lost."
            raise SourceError(problem, OWN_NAMES)
        seen.add(name)
