"""Connect to the legacy database and stream from it, every value in a form that loses nothing.

Dates and times come as the engine prints them (an engine holds values that no Python date can: 0000-00-00,
infinity, 30 February as text), decimals as text, blobs as base64, undecodable bytes as lone surrogates.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, NoSuchModuleError

from medferry.errors import SettingsError, SourceError, SourceUnavailable

_FETCH_ROWS = 1_000


def connect_engine(url: str, arguments: Mapping[str, Any] | None = None) -> sa.Engine:
    """An engine for a SQLAlchemy URL; `arguments` are for the driver's ``connect``.

    Raises SettingsError for a URL that cannot be one.
    """
    try:
        engine = sa.create_engine(_with_driver(url), pool_pre_ping=True, connect_args=dict(arguments or {}))
    except (sa.exc.ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        raise SettingsError(
            "The legacy database's URL is not usable.", "Write dialect://user:password@host/name."
        ) from error
    sa.event.listen(engine, "connect", _keep_raw_values)
    return engine


def _with_driver(url: str) -> sa.URL:
    """Choose the drivers that come with Medferry when the URL names none."""
    parsed = sa.make_url(url)
    driver = {
        "postgresql": "postgresql+psycopg",
        "postgres": "postgresql+psycopg",
        "mysql": "mysql+pymysql",
        "mariadb": "mariadb+pymysql",
    }.get(parsed.drivername)
    parsed = parsed.set(drivername=driver) if driver else parsed
    return parsed.update_query_dict({"charset": "utf8mb4"}) if driver and "pymysql" in driver else parsed


def _keep_raw_values(connection: Any, _record: Any) -> None:
    """Ask the driver for text instead of Python dates (and tolerate undecodable text)."""
    module = type(connection).__module__.partition(".")[0]
    if module == "psycopg":
        from psycopg.types.string import TextLoader

        for name in ("date", "timestamp", "timestamptz", "time", "timetz", "interval"):
            connection.adapters.register_loader(name, TextLoader)
    elif module == "pymysql":
        from pymysql.constants import FIELD_TYPE

        for kind in (FIELD_TYPE.DATE, FIELD_TYPE.DATETIME, FIELD_TYPE.TIMESTAMP, FIELD_TYPE.TIME, FIELD_TYPE.NEWDATE):
            connection.decoders.pop(kind, None)
    elif module == "sqlite3":
        connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")


@contextmanager
def snapshot(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A read-only connection with one consistent view of the database for as long as it is open.

    Raises SourceUnavailable when the database does not answer, SourceError when it refuses a statement.
    """
    options = {"isolation_level": "REPEATABLE READ"} if engine.dialect.name != "sqlite" else {}
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(engine.connect().execution_options(**options))
        except DBAPIError as error:
            raise _unavailable(error) from None
        try:
            yield connection
        except DBAPIError as error:
            if error.connection_invalidated:
                raise _unavailable(error) from None
            raise SourceError(
                f"The legacy database refused a query ({_state(error)}).", "Try the entity's SQL by hand."
            ) from None


def _unavailable(error: DBAPIError) -> SourceUnavailable:
    return SourceUnavailable(
        f"The legacy database did not answer ({_state(error)}).", "Check its connection, then run again."
    )


def _state(error: DBAPIError) -> str:
    """The driver's exception type and SQLSTATE; never its text, which may quote a row."""
    state = getattr(error.orig, "sqlstate", None)
    return f"{type(error.orig).__name__} {state}" if state else type(error.orig).__name__


def stream(connection: sa.Connection, statement: sa.Executable, values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows as dicts of JSON values, through a server-side cursor where the engine has one."""
    streaming = connection.execution_options(stream_results=True, max_row_buffer=_FETCH_ROWS)
    result = streaming.execute(statement, values)
    names = list(result.keys())
    for chunk in result.partitions(_FETCH_ROWS):
        for row in chunk:
            yield {name: json_value(value) for name, value in zip(names, row, strict=True)}


def json_value(value: Any) -> Any:
    """A driver's value as JSON: see the module's text. Raises TypeError for a kind nobody expected."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, (date, time, timedelta)):
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(value)).decode("ascii")
    return str(value)
