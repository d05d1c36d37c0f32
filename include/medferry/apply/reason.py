"""Why a resource is left as it is that an operator wanted dealt with (a twin, a leftover)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Reason:
    """Why, as an operator reads it; `what` names places or parameters, never content."""

    why: StrEnum
    what: str = ""

    def __str__(self) -> str:
        return f"{self.why} ({self.what})" if self.what else str(self.why)


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
