"""Values that follow from one beside them: the names of codes, the text of a concept, the type of a reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from medferry.definition.tables import ApprovedTable

Element = dict[str, Any]


@dataclass(frozen=True)
class DerivedValues:
    """The rules, by the migration's approved code tables. Each says True, False, or None where it does not apply."""

    base: str
    tables: Mapping[str, ApprovedTable]

    def judge(self, element: Element, name: str, value: Any) -> bool | None:
        """Whether a member of an element is what the members beside it demand."""
        if name == "type" and "reference" in element:
            return bool(value == str(element["reference"]).partition("/")[0])
        if name in ("display", "unit") and "code" in element:
            known = self.names(element)
            local = name == "display" and element.get("system") in self._local
            return value in known if known or local else None
        if name == "text" and isinstance(element.get("coding"), list):
            texts = self._texts(element["coding"])
            return value in texts if texts else None
        return None

    def names(self, coding: Element) -> frozenset[str]:
        """The names that the code tables have for a code; none for one that they do not know."""
        system, code = coding.get("system"), coding.get("code")
        if not isinstance(system, str) or not isinstance(code, str):
            return frozenset()
        if (table := self._local.get(system)) is not None:
            return frozenset({table.local_displays.get(table.name(code), "")} - {""})
        return self._names.get((system, code), frozenset())

    def _texts(self, codings: list[Any]) -> set[str]:
        """How the concept of a local code reads: by its name, without one by the code itself."""
        local = [each for each in codings if isinstance(each, dict) and each.get("system") in self._local]
        return {name for each in local for name in self.names(each) or {str(each.get("code"))}}

    @cached_property
    def _local(self) -> dict[str, ApprovedTable]:
        return {f"{self.base}/CodeSystem/{name}": table for name, table in self.tables.items()}

    @cached_property
    def _names(self) -> dict[tuple[str, str], frozenset[str]]:
        found: dict[tuple[str, str], frozenset[str]] = {}
        for table in self.tables.values():
            for target, names in table.displays.items():
                found[target] = found.get(target, frozenset()) | names
        return found
