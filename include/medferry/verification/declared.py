"""What the checks declare beside single values: constants, and lists that are compared whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from medferry.definition.checks import ManyCheck, split_member
from medferry.fhir.selection import selection
from medferry.verification.case import DIFFERENT, MISSING, UNEXPECTED

ORDER = "order"

Same = Callable[[Any, Any], bool]
"""Whether a legacy value and a value of the resource are equal."""


def constant_faults(resource: dict[str, Any], constants: Mapping[str, Any], base: str) -> dict[str, str | None]:
    """Path → what is wrong with the constant there, or None; paths whose parent the resource has not are left out."""
    found: dict[str, str | None] = {}
    for path, value in constants.items():
        parent, name = split_member(path)
        holders = [place[2] for place in selection(parent)(resource, base).places if isinstance(place[2], dict)]
        if holders:
            found[path] = next((fault for holder in holders if (fault := _fault(holder.get(name), value))), None)
    return found


def _fault(held: Any, value: Any) -> str | None:
    if held is None:
        return MISSING
    if isinstance(held, list):
        return None if len(held) == 1 and _equal(held[0], value) else DIFFERENT
    return None if _equal(held, value) else DIFFERENT


def _equal(held: Any, value: Any) -> bool:
    return bool(held == value) and isinstance(held, bool) == isinstance(value, bool)


def list_fault(many: ManyCheck, expected: Sequence[Any], found: Sequence[Any], same: Same) -> str | None:
    """Whether a list has what it must have: missing, unexpected, different, order, or None."""
    if len(found) != len(expected):
        return MISSING if len(found) < len(expected) else UNEXPECTED
    if all(same(legacy, held) for legacy, held in zip(expected, found, strict=True)):
        return None
    rest = list(found)
    for legacy in expected:
        at = next((number for number, held in enumerate(rest) if same(legacy, held)), None)
        if at is None:
            return DIFFERENT
        del rest[at]
    return ORDER if many.order else None
