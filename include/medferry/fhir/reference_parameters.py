"""By which search parameters resources of each R4 type can be found that refer to a resource of a given type."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("reference_parameters.json")
"""Target type → type that may refer to it → search parameters of FHIR R4; a test keeps it the definitions'."""

ANY = "Any"
"""In the table, the target of parameters that may refer to a resource of any type."""


@cache
def referring_parameters(target: str) -> tuple[tuple[str, str], ...]:
    """(resource type, search parameter) of all that can refer to a resource of the type `target`."""
    table: dict[str, dict[str, list[str]]] = json.loads(TABLE.read_text(encoding="utf-8"))
    found = {
        (resource_type, parameter)
        for group in (ANY, target)
        for resource_type, parameters in table.get(group, {}).items()
        for parameter in parameters
    }
    return tuple(sorted(found))
