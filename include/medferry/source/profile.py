"""Profile a source entity: what its columns hold, as counts, without showing a single value unless asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

_DISTINCT_LIMIT = 10_000


@dataclass(slots=True)
class ColumnProfile:
    """Counts over one column. `distinct` stops counting at 10,000; `top` holds the commonest values."""

    name: str
    rows: int = 0
    nulls: int = 0
    blanks: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    longest: int = 0
    values: Counter[str] = field(default_factory=Counter)

    @property
    def distinct(self) -> int:
        return len(self.values)

    @property
    def distinct_is_more(self) -> bool:
        """True when `distinct` stopped at its limit."""
        return len(self.values) >= _DISTINCT_LIMIT

    def add(self, value: Any) -> None:
        self.rows += 1
        if value is None:
            self.nulls += 1
            return
        self.kinds["bytes" if isinstance(value, dict) else type(value).__name__] += 1
        text = str(value)
        self.blanks += not text.strip()
        self.longest = max(self.longest, len(text))
        if text in self.values or len(self.values) < _DISTINCT_LIMIT:
            self.values[text] += 1


def profile(rows: Iterable[dict[str, Any]]) -> list[ColumnProfile]:
    """Profiles of all columns, in the order of the SELECT; empty when there are no rows."""
    columns: dict[str, ColumnProfile] = {}
    for row in rows:
        for name, value in row.items():
            columns.setdefault(name, ColumnProfile(name)).add(value)
    return list(columns.values())
