"""The columns of one row by their names: each is said once, where a context's own readers take value and name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medferry.mapping.declare import MAIN, Row

if TYPE_CHECKING:
    from medferry.mapping.context import Context


@dataclass(frozen=True, slots=True)
class ColumnReader:
    """``ctx.row.text("family_name")`` is ``ctx.text(row["family_name"], "family_name")``, and so are the others.

    Each raises what the context's reader of that name raises, and NoSuchColumn.
    """

    context: Context
    values: Row

    def text(self, column: str) -> str | None:
        return self.context.text(self.values[column], column)

    def base64(self, column: str) -> str | None:
        return self.context.base64(self.values[column], column)

    def date(self, column: str) -> str | None:
        return self.context.date(self.values[column], column)

    def instant(self, column: str, zone: str | None = None) -> str | None:
        return self.context.instant(self.values[column], column, zone)

    def number(self, column: str) -> int | float | None:
        return self.context.number(self.values[column], column)

    def code(self, table: str, column: str, text: str | None = None) -> dict[str, Any] | None:
        return self.context.code(table, self.values[column], column, text)

    def coding(self, table: str, column: str) -> dict[str, str] | None:
        return self.context.coding(table, self.values[column], column)

    def local_coding(self, table: str, column: str) -> dict[str, str] | None:
        return self.context.local_coding(table, self.values[column], column)

    def optional_code(self, table: str, column: str) -> str | None:
        return self.context.optional_code(table, self.values[column], column)

    def required_code(self, table: str, column: str) -> str:
        return self.context.required_code(table, self.values[column], column)

    def reference(
        self,
        entity: str,
        column: str,
        *further: str,
        slot: str = MAIN,
        display: str | None = None,
        zero_is_none: bool = False,
    ) -> dict[str, str] | None:
        """Of the row whose key is in `column`, or in several for a key of several."""
        key = tuple(self.values[name] for name in (column, *further)) if further else self.values[column]
        return self.context.reference(entity, key, slot, display, zero_is_none=zero_is_none)
