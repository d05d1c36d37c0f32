"""Which of some resources another one is about, in whatever form it says so. Pure.

A reference may be an address (of this server by any of its names, of one version), stand inside of something contained,
in an extension or in a text, or give an identifier alone. An id of Medplum's is a UUID: wherever it stands, it is that
resource.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

from medferry.fhir.references import parse_conditional

Name = tuple[str, str]

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_UUID_LENGTH = 36


class Sought:
    """Resources ("Type/id" → the identifiers by which each may be referred to, as (system, value))."""

    def __init__(self, identifiers: Mapping[str, Collection[Name]]) -> None:
        self._by_id = {place.partition("/")[2].lower(): place for place in identifiers}
        self._by_name: dict[Name, set[str]] = defaultdict(set)
        self._by_value: dict[str, set[str]] = defaultdict(set)
        for place, names in identifiers.items():
            for system, value in names:
                self._by_name[system.strip(), value.strip()].add(place)
                self._by_value[value.strip()].add(place)

    @property
    def untellable(self) -> list[str]:
        """Places whose id is no UUID: elsewhere it may be anything."""
        return sorted(place for id_, place in self._by_id.items() if not _UUID.fullmatch(id_))

    def named_in(self, resource: Mapping[str, Any]) -> set[str]:
        """The places of those that `resource` names, itself left out."""
        found: set[str] = set()
        stack: list[Any] = [resource]
        while stack:
            value = stack.pop()
            if isinstance(value, str):
                if len(value) >= _UUID_LENGTH:
                    found |= {self._by_id[id_] for each in _UUID.findall(value) if (id_ := each.lower()) in self._by_id}
            elif isinstance(value, dict):
                if "identifier" in value or "reference" in value:
                    found |= self._logically(value)
                stack.extend(value.values())
            elif isinstance(value, list):
                stack.extend(value)
        return found - {f"{resource.get('resourceType')}/{resource.get('id')}"}

    def _logically(self, element: Mapping[str, Any]) -> set[str]:
        """By an element's identifier, or by a search in place of an address."""
        found: set[str] = set()
        identifier, reference = element.get("identifier"), element.get("reference")
        if isinstance(identifier, dict) and "resourceType" not in element:  # with it, it is the element's own
            found |= self._of(element.get("type"), identifier.get("system"), identifier.get("value"))
        if isinstance(reference, str) and (asked := parse_conditional(reference)):
            found |= self._of(*asked)
        return found

    def _of(self, kind: Any, system: Any, value: Any) -> set[str]:
        """Without a system it may be anybody's, and without a type of any."""
        if not isinstance(value, str):
            return set()
        named = isinstance(system, str) and system.strip()
        places = self._by_name.get((system.strip(), value.strip())) if named else self._by_value.get(value.strip())
        wanted = kind.rpartition("/")[2] if isinstance(kind, str) else ""
        return {place for place in places or () if wanted in ("", place.partition("/")[0])}
