"""Pin a connection to the legacy database: read-only, and every setting that could change or hide a value made fixed.

On PostgreSQL the settings are those of one transaction, so that they hold behind a pool too that hands another session
to each. SQL reads the same whatever the server, the database or the account has set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from medferry.errors import SourceError
from medferry.source import sqlserver

POSTGRESQL: Mapping[str, str] = {
    "TimeZone": "'UTC'",
    "DateStyle": "'ISO, YMD'",
    "IntervalStyle": "'postgres'",
    "timezone_abbreviations": "'Default'",  # what `IST` in a text stands for
    "lc_numeric": "'C'",  # the point and the comma of `to_char`
    "lc_time": "'C'",  # its names of months and days
    "bytea_output": "'hex'",
    "extra_float_digits": "3",
    "xmlbinary": "'base64'",
    "xmloption": "'content'",
    "array_nulls": "on",
    "standard_conforming_strings": "on",  # off, a backslash in a text of the SQL is an escape
    "backslash_quote": "safe_encoding",
    "quote_all_identifiers": "off",
    "transform_null_equals": "off",  # on, `= NULL` is true of rows
    "default_text_search_config": "'pg_catalog.simple'",
    "gin_fuzzy_search_limit": "0",  # else an index gives some of the rows alone
    "row_security": "off",
}
"""`row_security = off` makes an error of rows that a policy hides; any positive `extra_float_digits` prints a float so
that it reads back as the same (3 does so before PostgreSQL 12, too). Each is one that servers have had since 9.1.

Two are not here. `lc_monetary` says how many digits of a `money` are behind the point, which only its database knows;
`search_path`, where tables are."""

_PARSING_MODES = ("ANSI_QUOTES", "IGNORE_SPACE", "NO_BACKSLASH_ESCAPES", "PIPES_AS_CONCAT")
"""How a server reads SQL: the entities are written for it, so these stay as they are."""

MYSQL: Mapping[str, str] = {
    "time_zone": "'+00:00'",
    "sql_mode": "CONCAT_WS(',', 'STRICT_ALL_TABLES', 'ERROR_FOR_DIVISION_BY_ZERO', "
    + ", ".join(f"IF(FIND_IN_SET('{mode}', @@sql_mode), '{mode}', NULL)" for mode in _PARSING_MODES)
    + ")",
    "group_concat_max_len": "1073741824",
    "sql_select_limit": "18446744073709551615",
    "sql_auto_is_null": "0",
    "max_error_count": "65535",
    "max_sort_length": "16384",
    "div_precision_increment": "4",  # digits behind the point of a quotient: 0 makes 2 of 11 / 4
    "lc_time_names": "'en_US'",  # names of months and days
    "default_week_format": "0",
    "sql_quote_show_create": "1",  # as the catalogue's foreign keys are read
    "innodb_lock_wait_timeout": "DEFAULT",
    "lock_wait_timeout": "DEFAULT",
}
"""No limit on rows; no mode that pads CHAR; GROUP_CONCAT as long as a packet may be; no warning is forgotten.

Who writes back sets the last two for its transaction (`write_transaction`), and a pool gives its session to others.
ORDER BY goes by the first `max_sort_length` bytes of a text's weights: by 16 for each of the longest key's."""

ONE_KIND: Mapping[str, tuple[str, str]] = {
    "system_versioning_asof": ("M!100304", "DEFAULT"),  # rows as they were at some time
    "default_regex_flags": ("M!100011", "''"),
    "max_recursive_iterations": ("M!100202", "4294967295"),  # a WITH RECURSIVE that ends early
    "old_mode": ("M!100002", "IF(FIND_IN_SET('UTF8_IS_UTF8MB3', @@old_mode), 'UTF8_IS_UTF8MB3', '')"),
    "windowing_use_high_precision": ("!80002", "1"),
}
"""What MariaDB (M) or MySQL alone has, and since when: in a comment that others do not read.

What `utf8` stands for is the server's, like the parsing modes: collations of columns go by it. DEFAULT is here no
server's setting, but that there is none. Character sets and collation of the connection are set by the driver each
time it connects."""

_HARMLESS_WARNINGS = frozenset({1287, 1681, 3719, 3720, 3778})
"""Of MySQL: syntax that is deprecated. They speak of the SQL, not of a value."""

_WARNINGS = {
    1260: "GROUP_CONCAT cut a value off",
    1265: "a value was cut off",
    1300: "bytes are no character",
    1292: "a text is no number or date",
    1301: "a function's result was too long",
    1365: "something was divided by 0",
    1366: "a value does not fit its type",
    1411: "a text is no date",
}


@contextmanager
def pinned(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection in a read-only transaction with one consistent view, its settings pinned.

    Raises DBAPIError, and SourceError for a SQL Server that would hide or change what is read.
    """
    name = engine.dialect.name
    levels = {"sqlite": None, "mssql": "SNAPSHOT"}
    level = levels.get(name, "REPEATABLE READ")
    options: dict[str, Any] = {"isolation_level": level} if level else {}
    if name == "postgresql":
        options["postgresql_readonly"] = True
    with engine.connect().execution_options(**options) as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        pin_settings(connection)
        if name in ("mysql", "mariadb"):
            connection.exec_driver_sql("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        elif name == "sqlite":
            connection.exec_driver_sql("PRAGMA query_only = ON")
        try:
            yield connection
        finally:
            if name == "sqlite":
                driver.execute("PRAGMA query_only = OFF")


def pin_settings(connection: sa.Connection) -> None:
    """Have values read as the tables of types expect; PostgreSQL's settings hold for the transaction."""
    if connection.dialect.name == "postgresql":
        # Several statements in one: as the first of the transaction they cost one round trip.
        settings = "; ".join(f"SET LOCAL {setting} = {value}" for setting, value in POSTGRESQL.items())
        connection.exec_driver_sql(settings)
    elif connection.dialect.name in ("mysql", "mariadb"):
        settings = ", ".join(f"{setting} = {value}" for setting, value in MYSQL.items())
        own = " ".join(f"/*{since} , {setting} = {value} */" for setting, (since, value) in ONE_KIND.items())
        connection.exec_driver_sql(f"SET SESSION {settings} {own}")
    elif connection.dialect.name == "mssql":
        sqlserver.pin_session(connection)


def refuse_warnings(connection: sa.Connection) -> None:
    """Raise SourceError if MySQL or MariaDB warned of the last statement: a value was cut off or replaced.

    A warning's own text may quote a row; its number says enough.
    """
    if connection.dialect.name not in ("mysql", "mariadb"):
        return
    for level, code, *_ in connection.exec_driver_sql("SHOW WARNINGS").all():
        if level != "Note" and int(code) not in _HARMLESS_WARNINGS:
            told = _WARNINGS.get(int(code), "a value may not be what is stored")
            raise SourceError(
                f"The legacy database answered with warning {code}: {told}.",
                "Correct the entity's SQL, or the value: what is read would not be what is stored.",
            )
