"""Columns that one value of a resource is read from are written together, or none of them is.

Where the row cannot take a part of a value (a unit that no line of the code table has), its other parts would stand in
the row beside what it keeps: a dose that nobody wrote.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from medferry.fhir.one_value import whole
from medferry.mapping.declare import Resource
from medferry.mapping.inverse import CannotExpress

_STEP = re.compile(r"(?:^|\.)([A-Za-z_]\w*)")


def parted(
    told: Iterable[CannotExpress],
    told_before: Iterable[CannotExpress],
    paths: Mapping[str, str],
    edited: Resource,
    before: Resource,
) -> frozenset[str]:
    """The columns of values of which the row cannot take a part that an edit changed. `paths`: column → its place."""
    kind, known = str(edited.get("resourceType", "")), set(told_before)
    changed = (one.path for one in told if one not in known or _at(edited, one.path) != _at(before, one.path))
    values = {_value(kind, path) for path in changed if path}
    return frozenset(column for column, path in paths.items() if _value(kind, path) in values)


def _value(kind: str, path: str) -> str:
    """A place as far as the one value that it leads into: ``valueQuantity`` of ``valueQuantity.code``."""
    steps = list(_STEP.finditer(path))
    names = whole(kind, tuple(step[1] for step in steps))
    return path[: steps[len(names) - 1].end()] if names else path


def _at(resource: Any, path: str) -> Any:
    """What stands at a place, or the list that it leads into."""
    for step in _STEP.finditer(path):
        if not isinstance(resource, dict):
            break
        resource = resource.get(step[1])
    return resource
