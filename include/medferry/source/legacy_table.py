"""A table of the legacy database that may be written, and which columns of an entity's row stand in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Constant = str | int | None
"""A value that a definition fixes; None is null."""


@dataclass(frozen=True, slots=True)
class LegacyTable:
    """Column names on the left are the table's in `key`, `only` and `new`, and the entity's row's in `columns`."""

    name: str
    key: Mapping[str, str]
    """Column of the table → column of the entity's row that has its value: together they find the table's row."""
    columns: Mapping[str, str]
    """Column of the entity's row → column of the table."""
    only: Mapping[str, Constant] = field(default_factory=dict)
    """Which of several rows of that key: columns with a value that the entity's SQL asks for, too."""
    touched: str | None = None
    """The column that gets the time of each change."""
    removed: str | None = None
    """The column that gets the time when nothing is left in an `optional` row; without one the row is deleted."""
    optional: bool = False
    """The row may be missing: then the first value inserts it, and the last one that goes removes it."""
    new: Mapping[str, Constant] = field(default_factory=dict)
    """What an inserted row gets beside its key, `only` and the values."""


def legacy_table(
    name: str,
    *,
    key: str | Mapping[str, str],
    columns: Iterable[str] | Mapping[str, str],
    only: Mapping[str, Constant] | None = None,
    touched: str | None = None,
    removed: str | None = None,
    optional: bool = False,
    new: Mapping[str, Constant] | None = None,
) -> LegacyTable:
    """A table for ``@inverse``; a name is enough for a column that is called the same in the entity's row."""
    return LegacyTable(
        name,
        {key: key} if isinstance(key, str) else dict(key),
        dict(columns) if isinstance(columns, Mapping) else {column: column for column in columns},
        dict(only or {}),
        touched,
        removed,
        optional,
        dict(new or {}),
    )
