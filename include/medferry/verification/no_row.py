"""A check whose `where` holds for no row has compared nothing: what stands in its place is then proven by nobody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from medferry.definition.checks import Check
from medferry.fhir.fhirpath import PathFailed, compiled
from medferry.fhir.selection import NotSelectable, selection
from medferry.manifest.checks import EXAMPLES
from medferry.verification.ownership import Owned, SlotOwnership
from medferry.verification.recorder import CheckRecorder

WHY = "Its `where` holds for no row, and what stands in its place is compared by no other check: correct the `where`."


@dataclass
class NoRow:
    """The rows for which one check does not hold, in whose resources something stands that nobody answers for."""

    check: Check
    ownership: SlotOwnership
    number: int = 0
    keys: list[str] = field(default_factory=list)

    def note(self, key: str, resource: dict[str, Any], row: Mapping[str, Any]) -> None:
        if not self._stands_unowned(resource, row):
            return
        self.number += 1
        if len(self.keys) < EXAMPLES:
            self.keys.append(key)

    def tell(self, name: str, recorder: CheckRecorder) -> None:
        if self.number:
            recorder.unchecked(name, self.number, WHY, *self.keys)

    def _stands_unowned(self, resource: dict[str, Any], row: Mapping[str, Any]) -> bool:
        try:
            places = selection(self.check.path)(resource, self.ownership.base).places
        except NotSelectable:  # where its values stand cannot be told, nor who else compares them
            return self._has_value(resource)
        if not places:
            return False
        owned = self.ownership.owned(resource, row)
        return any(
            (id(container), name) not in owned.places and not _owns_within(value, owned)
            for container, name, value in places
        )

    def _has_value(self, resource: dict[str, Any]) -> bool:
        try:
            return bool(compiled(self.check.path)(resource, {"base": self.ownership.base}))
        except PathFailed:
            return True  # nobody can say


def _owns_within(value: Any, owned: Owned) -> bool:
    """Whether somebody answers for a part of a value."""
    if not isinstance(value, dict | list):
        return False
    members = value.items() if isinstance(value, dict) else enumerate(value)
    return any((id(value), name) in owned.places or _owns_within(held, owned) for name, held in members)
