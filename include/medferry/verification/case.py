"""One comparison of a legacy value with what a resource holds, and what all comparators share.

A verdict is None when they are equal, else the kind of the difference, a constant without data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from medferry.definition.checks import Check
from medferry.definition.tables import ApprovedTable
from medferry.fhir.fhirpath import compiled
from medferry.plan.model import Source
from medferry.source.keys import key_text

MISSING, UNEXPECTED, DIFFERENT, SEVERAL = "missing", "unexpected", "different", "several"

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_OUTER_BLANKS = re.compile(r"^[^\S\x85]+|[^\S\x85]+$")
"""Without U+0085, a letter that was decoded wrongly, which Python calls a blank."""
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")


class Unreadable(ValueError):
    """The legacy value is nothing that this comparator understands; the message is a constant."""


@dataclass(frozen=True, slots=True)
class Case:
    """One comparison. `columns` are the check's SQL expressions with their values."""

    check: Check
    columns: Mapping[str, Any]
    resource: dict[str, Any]
    source: Source
    tables: Mapping[str, ApprovedTable]
    base: str
    place_of: Callable[[str, str, str], str | None]
    """(entity, slot, key) → "Type/id" by the crosswalk."""
    bytes_of: Callable[[str], bytes]
    """URL of an attachment → what Medplum has under it."""
    item: tuple[Any, ...] | None = None
    """Of a list that is compared item by item: the only value that counts as found."""

    @property
    def found(self) -> list[Any]:
        """What the resource has at the check's path. Raises PathFailed."""
        if self.item is not None:
            return list(self.item)
        return compiled(self.check.path)(self.resource, {"base": self.base})

    def legacy(self, sql: str | None) -> Any:
        return None if sql is None else self.columns[sql]

    def text(self, sql: str | None) -> str | None:
        """A legacy text without outer blanks and control characters; None for what the plan says is no value.

        C1 control characters stay: they are letters of another encoding, and whoever drops them drops letters.
        Raises Unreadable for bytes.
        """
        value = self.legacy(sql)
        if value is None:
            return None
        if isinstance(value, dict):
            raise Unreadable("bytes, and no text")
        clean = _trimmed(_CONTROL.sub("", str(value)))
        tokens = self.source.null_tokens.union(self.check.null_tokens)
        return None if not clean or clean in tokens else clean

    def moment(self) -> str | None:
        """As text, and None for a sentinel date."""
        value = self.text(self.check.sql)
        return None if value is None or value[:10] in self.source.sentinel_dates else value


def _trimmed(text: str) -> str:
    return _OUTER_BLANKS.sub("", text) if "\x85" in text else text.strip()


def referred_key(check: Check, columns: Mapping[str, Any]) -> str | None:
    """The key of the row that a reference check's row refers to; None when it refers to none."""
    key = key_text([columns[sql] for sql in (check.sql or "", *check.further_sql)])
    return key if key is not None and key.strip() else None


def single(expected: Any, found: list[Any], same: Callable[[Any], str | None]) -> str | None:
    """Presence first: absent, zero and empty are three things."""
    if expected is None:
        return UNEXPECTED if found else None
    if not found:
        return MISSING
    return SEVERAL if len(found) > 1 else same(found[0])


def plain(expected: Any, found: list[Any]) -> str | None:
    return single(
        expected, found, lambda stored: None if type(stored) is type(expected) and stored == expected else DIFFERENT
    )


def decimal_of(text: str | None) -> Decimal | None:
    if text is None:
        return None
    if not _NUMBER.fullmatch(text):
        raise Unreadable("no number")
    return Decimal(text)
