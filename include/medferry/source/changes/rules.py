"""What is to be captured: for each table of the legacy database, whose key a changed row belongs to."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class CaptureMethod(StrEnum):
    """How changes of an entity are found."""

    LOG = "log"
    """Triggers log its keys."""
    SWEEP = "sweep"
    """All its rows are read again and again, and compared."""


ROW = "{row}"
"""Stands for the changed row in an expression: ``{row}.patient_id``."""

_COLUMN = re.compile(r"[^\W\d]\w*")
_NAME = rf'{_COLUMN.pattern}|"(?:[^"]|"")+"|`(?:[^`]|``)+`'
"""Of a column, as SQL has it: with quotes where it needs them."""
_NAMED = re.compile(_NAME)
OF_ROW = re.compile(rf"{re.escape(ROW)}\.({_NAME})")
_SELECT = re.compile(r"(?is)\s*(select|with)\b")

KeySql = str | Sequence[str]
"""The SQL of a key as a migration says it: of each of its columns, in the entity's order, or one SELECT of all."""


@dataclass(frozen=True, slots=True)
class KeyOf:
    """Which records of an entity a changed row belongs to, in SQL: columns, expressions with `ROW`, or one SELECT.

    A trigger logs the key itself, or for a SELECT the columns of the row that it names; the cut then looks the keys
    up. A trigger that looked would not see records that are being written at the same time, and nobody would log them.
    """

    entity: str
    parts: tuple[str, ...]

    @classmethod
    def of(cls, entity: str, sql: KeySql) -> KeyOf:
        parts = (sql,) if isinstance(sql, str) else sql
        return cls(entity, tuple(part.strip() for part in parts))

    @property
    def is_select(self) -> bool:
        """Whether the keys are looked up when the cut is made."""
        return len(self.parts) == 1 and bool(_SELECT.match(self.parts[0]))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the changed row that it names, as SQL has them, sorted."""
        found = ({part} if _NAMED.fullmatch(part) else OF_ROW.findall(part) for part in self.parts)
        return tuple(sorted({column for columns in found for column in columns}))

    def quoted(self, columns: Collection[str]) -> KeyOf:
        """The same, with quotes around what stands for one of some columns by its bare name."""
        parts = (
            f"{ROW}.{quoted(part)}" if part in columns and _COLUMN.fullmatch(part) else part for part in self.parts
        )
        return KeyOf(self.entity, tuple(parts))

    def logged(self, row: str) -> list[str]:
        """The expressions that a trigger logs of a row under the name `row` (NEW, OLD, an alias), as one key text."""
        if self.is_select:
            return [f"{row}.{column}" for column in self.columns]
        plain = (f"{ROW}.{part}" if _NAMED.fullmatch(part) else part for part in self.parts)
        return [part.replace(ROW, row) for part in plain]

    def in_trigger(self, row: str) -> str:
        """The SELECT as a trigger runs it by itself."""
        return self.parts[0].replace(ROW, row)

    def lookup(self, placeholder: Callable[[int], str]) -> str:
        """The SELECT with a placeholder for each logged column of the row, by its place in `columns`."""
        columns = self.columns
        return OF_ROW.sub(lambda match: placeholder(columns.index(match[1])), self.parts[0])


Watched = Mapping[str, tuple[KeyOf, ...]]
"""Table, as the legacy database's SQL names it → what its rows belong to."""


def watched(entities: Mapping[str, Mapping[str, KeySql]]) -> Watched:
    """Entity → table → SQL of the key, turned over: a table has one trigger, however many entities read it."""
    found: dict[str, tuple[KeyOf, ...]] = {}
    for entity, tables in entities.items():
        for table, sql in tables.items():
            found[table] = (*found.get(table, ()), KeyOf.of(entity, sql))
    return dict(sorted(found.items()))


_COLUMN_OF_ROW = re.compile(rf"\w+\.({_NAME})")


def column_of(expression: str) -> str:
    """The column that a logged expression is (``NEW.id``), as `bare` gives it; empty for any other expression."""
    match = _COLUMN_OF_ROW.fullmatch(expression)
    return bare(match[1]) if match else ""


def bare(name: str) -> str:
    """A column's name without quotes; one that has none is in lower case."""
    mark = name[:1]
    return name[1:-1].replace(mark * 2, mark) if mark in ('"', "`") else name.lower()


def quoted(name: str) -> str:
    """A name in the quotes of the SQL standard."""
    return '"' + name.replace('"', '""') + '"'
