"""FHIRPath expressions, compiled once each (library: fhirpathpy). Numbers come back as Decimal."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import fhirpathpy

Evaluate = Callable[[dict[str, Any], dict[str, Any]], list[Any]]


class BadPath(ValueError):
    """An expression is no FHIRPath."""


@cache
def compiled(path: str) -> Evaluate:
    """A function (resource, variables) → the list of values at `path`. Raises BadPath.

    Paths name elements as JSON does (`valueQuantity`, not `value`): no model of FHIR's types is used.
    """
    try:
        return fhirpathpy.compile(path)
    except Exception as error:  # noqa: BLE001 - the parser raises several kinds, some of them its generator's
        raise BadPath(f"{path!r} is no FHIRPath expression ({type(error).__name__})") from None
