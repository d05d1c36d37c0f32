"""What is to be captured: for each table of the legacy database, whose key a changed row belongs to."""

from __future__ import annotations

import re
from collections.abc import Mapping
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

_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OF_ROW = re.compile(re.escape(ROW) + r"\.([A-Za-z_][A-Za-z0-9_]*)")
_SELECT = re.compile(r"(?is)\s*(select|with)\b")


@dataclass(frozen=True, slots=True)
class KeyOf:
    """Which records of an entity a changed row belongs to, in SQL: a column, an expression with `ROW`, or a SELECT.

    A trigger logs the key itself, or for a SELECT the one column of the row that it names; the cut then looks the keys
    up. A trigger that looked would not see records that are being written at the same time, and nobody would log them.
    """

    entity: str
    sql: str

    @property
    def is_select(self) -> bool:
        """Whether the keys are looked up when the cut is made."""
        return bool(_SELECT.match(self.sql))

    @property
    def columns(self) -> frozenset[str]:
        """The columns of the changed row that it names."""
        return frozenset({self.sql} if _COLUMN.fullmatch(self.sql) else _OF_ROW.findall(self.sql))

    def logged(self, row: str) -> str:
        """The expression that a trigger logs of a row under the name `row` (NEW, OLD, an alias)."""
        if self.is_select:
            return f"{row}.{min(self.columns)}"
        text = f"{ROW}.{self.sql}" if _COLUMN.fullmatch(self.sql) else self.sql
        return text.replace(ROW, row)

    def lookup(self, value: str) -> str:
        """The SELECT with `value` (a placeholder) for the logged column of the row."""
        return _OF_ROW.sub(lambda _: value, self.sql)


Watched = Mapping[str, tuple[KeyOf, ...]]
"""Table, as the legacy database's SQL names it → what its rows belong to."""


def watched(entities: Mapping[str, Mapping[str, str]]) -> Watched:
    """Entity → table → SQL of the key, turned over: a table has one trigger, however many entities read it."""
    found: dict[str, tuple[KeyOf, ...]] = {}
    for entity, tables in entities.items():
        for table, sql in tables.items():
            found[table] = (*found.get(table, ()), KeyOf(entity, sql.strip()))
    return dict(sorted(found.items()))
