"""Keys that are looked up by columns of a changed row: the journal has each column's text, SQL needs its value.

A text is made a value of the column's own type before it is compared: bytes are logged in base64, and a text in the
place of a number, a padded CHAR or a typeless value would be equal to nothing, so that the change would find no record.
A null is logged, too: what a SELECT makes of it (IN, COALESCE, IS NOT DISTINCT FROM) only the engine knows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from medferry.source.changes.rules import KeyOf
from medferry.source.keys import key_text

NULL = "N"
"""Stands behind a backslash for a column without a value: a text has only `\\\\` and `\\/`."""

_COLUMN = re.compile(rf"(\\{NULL}|(?:[^\\/]|\\[\\/])*)(/|\Z)")
_ESCAPED = re.compile(r"\\([\\/])")


@dataclass(frozen=True, slots=True)
class Held:
    """How the text of one column becomes a value of its type."""

    value: Callable[[str], Any]
    """What is bound to the statement. Raises ValueError for a text that is none of this column."""
    sql: str = "{}"
    """The SQL of it, with {} for what is bound."""


class OtherColumns(ValueError):
    """A text that is not of the columns that the definition, or the table, has now: it says nothing of what changed."""


def looked_up(connection: sa.Connection, rule: KeyOf, held: Sequence[Held], texts: Collection[str]) -> set[str]:
    """The keys that the SELECT of a rule finds for changed rows, each told by one text. Raises OtherColumns."""
    statement = sa.text(_statement(rule, held))
    found = set[str]()
    for text in texts:
        bound = [
            # No type: the driver sends the value as it is.
            sa.bindparam(f"value{place}", value, type_=sa.types.NullType())
            for place, value in enumerate(_values(text, held))
        ]
        rows = connection.execute(statement.bindparams(*bound))
        found.update(key for row in rows if (key := key_text(list(row))) is not None)
    return found


def _statement(rule: KeyOf, held: Sequence[Held]) -> str:
    """A colon of the engineer's SQL (a time, a cast) must not be read as a bind parameter."""
    sql = rule.lookup(lambda place: held[place].sql.replace("{}", f"\0{place}"))
    return sql.replace(":", "\\:").replace("\0", ":value")


def _values(text: str, held: Sequence[Held]) -> list[Any]:
    try:
        return [None if part is None else one.value(part) for one, part in zip(held, columns_of(text), strict=True)]
    except ValueError:
        raise OtherColumns from None


def columns_of(text: str) -> list[str | None]:
    """The texts of the columns that a trigger has logged for a SELECT. Raises ValueError for a text of another form."""
    columns, at = list[str | None](), 0
    while column := _COLUMN.match(text, at):
        columns.append(None if column[1] == f"\\{NULL}" else _ESCAPED.sub(r"\1", column[1]))
        if not column[2]:
            return columns
        at = column.end()
    raise ValueError
