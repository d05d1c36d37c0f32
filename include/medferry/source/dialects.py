"""The engines that Medferry reads, and what of them is a fact and no code; by SQLAlchemy's name of the dialect.

What an engine does beside has one place each: its table of types (`source.types`), its pinned session
(`source.session`), what it compares a key as (`source.kinds`). An engine that is not here is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa


@dataclass(frozen=True, slots=True)
class Dialect:
    """One engine. `text` is the type to which a CAST gives the engine's own text of a value."""

    title: str
    url: str
    """Dialect and driver, as a SQLAlchemy URL begins with them."""
    driver: str
    """SQLAlchemy's name of the one driver from which values are known to arrive as they are."""
    sqlglot: str
    """What sqlglot calls the engine's SQL."""
    text: str
    is_case_told: bool = False
    """Whether quoted names that differ by case alone are two."""
    has_accounts: bool = True
    """Whether there is anybody to whom something can be granted."""
    grants: tuple[str, ...] = ()
    """What the account that reads needs beside SELECT on the tables, as statements up to TO."""
    is_tested: bool = True
    """Whether the tests hold it against a server of its own. What is not is said wherever engines are named."""


DIALECTS: Mapping[str, Dialect] = {
    "postgresql": Dialect("PostgreSQL", "postgresql+psycopg", "psycopg", "postgres", "TEXT", is_case_told=True),
    "mysql": Dialect("MySQL", "mysql+pymysql", "pymysql", "mysql", "CHAR"),
    "mariadb": Dialect("MariaDB", "mariadb+pymysql", "pymysql", "mysql", "CHAR"),
    "sqlite": Dialect("SQLite", "sqlite", "pysqlite", "sqlite", "TEXT", has_accounts=False),
    "mssql": Dialect(
        "SQL Server",
        "mssql+pyodbc",
        "pyodbc",
        "tsql",
        "NVARCHAR(4000)",
        grants=("GRANT VIEW DEFINITION",),  # without it, what masks or filters rows would not be noticed
        is_tested=False,
    ),
}

VARIANTS: Mapping[str, str] = {name: one.sqlglot for name, one in DIALECTS.items() if name != "mariadb"}
"""Dialects for which ``<entity>.<dialect>.sql`` may replace the portable query, as sqlglot calls them; MariaDB's
are MySQL's."""

NOT_READ: Mapping[str, str] = {"oracle": "Oracle", "db2": "Db2", "ibm_db_sa": "Db2"}
"""Engines that people have, and that have no table of types here."""


_TEXT_TYPES: Mapping[str, sa.types.TypeEngine[str]] = {
    "TEXT": sa.Text(),
    "CHAR": sa.CHAR(),
    "NVARCHAR(4000)": sa.NVARCHAR(4000),
}


def as_text(dialect: str, column: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
    """The engine's own text of a column."""
    return sa.cast(column, _TEXT_TYPES[DIALECTS[dialect].text])


def text_sql(dialect: str, sql: str) -> str:
    """The SQL of the engine's own text of an expression, without the padding of a CHAR column.

    On SQLite, whose columns hold numbers of either kind, 1.0 is what 1 is (as in ``source.slices.sqlite_text``).
    """
    if dialect == "sqlite":
        whole = f"typeof({sql}) = 'real' AND ({sql}) = CAST({sql} AS INTEGER)"
        return f"CASE WHEN {whole} THEN CAST(CAST({sql} AS INTEGER) AS TEXT) ELSE CAST({sql} AS TEXT) END"
    cast = f"CAST({sql} AS {DIALECTS[dialect].text})"
    return f"RTRIM({cast})" if dialect == "mssql" else cast


def titles() -> str:
    """The engines, as a message names them."""
    *first, last = (one.title for one in DIALECTS.values())
    return f"{', '.join(first)} and {last}"
