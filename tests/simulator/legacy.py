"""What the legacy side remembers for the checker alone: every value that a row has had, and who gave it."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

PROGRAM, PERSON = "program", "user"
"""What `who()` says on a connection."""

COLUMNS = {"patient": ("family", "born", "sex"), "weight": ("kg",)}

_REMEMBER = """
CREATE TRIGGER remember_{table}_{column}_{event} AFTER {event} ON {table} {when}
BEGIN
  INSERT INTO remembered (entity, row_id, name, was, became, who)
  VALUES ('{table}', NEW.id, '{column}', {old}, NEW.{column}, who());
END;
"""


@dataclass(frozen=True, slots=True)
class Written:
    """A value of a column, and the one before it."""

    entity: str
    key: int
    column: str
    old: Any
    value: Any
    who: str


def remember(connection: sqlite3.Connection) -> None:
    """Let the tables remember from now on; what is there is the first that they remember."""
    connection.executescript(
        "CREATE TABLE remembered (id INTEGER PRIMARY KEY AUTOINCREMENT, entity, row_id, name, was, became, who);"
    )
    for table, columns in COLUMNS.items():
        for column in columns:
            connection.execute(
                "INSERT INTO remembered (entity, row_id, name, became, who) "
                f"SELECT '{table}', id, '{column}', {column}, '{PERSON}' FROM {table}"
            )
            for event in ("INSERT", "UPDATE"):
                old = f"OLD.{column}" if event == "UPDATE" else "NULL"
                when = f"WHEN NEW.{column} IS NOT OLD.{column}" if event == "UPDATE" else ""
                connection.executescript(_REMEMBER.format(table=table, column=column, event=event, when=when, old=old))


def all_written(connection: Any) -> list[Written]:
    """In the order of writing."""
    rows = connection.execute("SELECT entity, row_id, name, was, became, who FROM remembered ORDER BY id")
    return [
        Written(entity, key, name, _typed(name, was), _typed(name, became), who)
        for entity, key, name, was, became, who in rows
    ]


def _typed(column: str, value: Any) -> Any:
    return float(value) if column == "kg" and value is not None else value
