"""What of an author's words may be told: what stands in the source of the mappings, or names what Medferry knows.

A reason, a field and a path are text that code hands over, and code may hand over a value of its row: a surname in
lower case has the form of a reason. So the form says nothing, and whatever came into being when the code ran is left
out. Pure.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Mapping
from functools import lru_cache
from types import FrameType
from typing import TYPE_CHECKING, Any

from medferry.mapping.inverse import Inexpressible
from medferry.mapping.outcomes import OF_READING, OF_VALUES, Reason
from medferry.source.keys import KeyFault

if TYPE_CHECKING:
    from medferry.mapping.context import MappingSettings

_OWN = frozenset({*Reason, *KeyFault, *OF_VALUES, *OF_READING, *Inexpressible})
_OWN_STEPS = frozenset({"text"})
"""What Medferry's own tools add to a path."""

_STEP = re.compile(r"[^.\[\]]+")


def told_reason(reason: str, settings: MappingSettings) -> str:
    """A reason; ``reason-withheld`` for one that is not Medferry's and stands in no source of the mappings."""
    return reason if reason in _OWN or reason in settings.words else Reason.REASON_WITHHELD


def told_field(field: str, columns: Mapping[str, Any], settings: MappingSettings) -> str:
    """``column`` or ``column:code_table``; empty for what is neither a column of the row nor a name of the migration.

    What its author calls a field and is none may be told, too, unless the row has it for a value.
    """
    column, colon, table = field.partition(":")
    named = {*settings.tables, *settings.specs}
    values = {value for value in columns.values() if isinstance(value, str)}
    if column not in columns and column not in named and (column not in settings.words or column in values):
        return ""
    return field if not colon or table in settings.tables else column


def told_detail(detail: str, settings: MappingSettings, columns: Collection[str]) -> str:
    """What an inverse says beside a reason: a column, a table, an entity, a reason, or its author's words."""
    known = detail in columns or detail in settings.tables or detail in settings.specs
    return detail if known or detail in _OWN or detail in settings.words else ""


def told_path(path: str, settings: MappingSettings) -> str:
    """A path whose every step stands in the source; empty for another."""
    steps = _STEP.findall(path)
    known = _steps(settings.words)
    return path if all(step.isdigit() or step in known or step in _OWN_STEPS for step in steps) else ""


def class_of(value: object) -> str:
    """The name of a value's class, where a module has it under that name; empty for one that code has made."""
    kind = type(value)
    found: Any = sys.modules.get(str(kind.__module__))
    for part in kind.__qualname__.split("."):
        found = getattr(found, "__dict__", {}).get(part)
    return kind.__qualname__.rpartition(".")[2] if found is kind else ""


def caller() -> str:
    """File and line of the code that called the tools of a mapping."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and "/medferry/mapping/" in frame.f_code.co_filename.replace("\\", "/"):
        frame = frame.f_back
    return f"{frame.f_code.co_filename.replace(chr(92), '/').rpartition('/')[2]}:{frame.f_lineno}" if frame else ""


@lru_cache(maxsize=8)
def _steps(words: frozenset[str]) -> frozenset[str]:
    return frozenset(step for word in words for step in _STEP.findall(word))
