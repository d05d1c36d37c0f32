"""The routing as flag definitions of flagd, which any OpenFeature client reads: a flag for each domain.

A client asks for ``medferry.<migration>.<domain>`` with the unit in its context, and gets an object: ``reads``,
``writes``, ``epoch``. A unit that the document does not have gets ``nobody`` for both: never a guess.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import ValidationError

from medferry.cutover.routing import ForeignRouting, Route, Routing

SCHEMA = "https://flagd.dev/schema/v0/flags.json"
UNKNOWN = ":unknown"
"""The variant of a unit that is not in the document; no unit can be called so."""
NOBODY = "nobody"


def flag_key(migration: str, domain: str) -> str:
    return f"medferry.{migration}.{domain}"


def flag_definitions(routing: Routing) -> bytes:
    """The file, indented for people."""
    flags = {flag_key(routing.migration, domain): _flag(routing.of_domain(domain)) for domain in routing.domains}
    metadata = {"flagSetId": f"medferry.{routing.migration}", "version": str(routing.version)}
    document = {"$schema": SCHEMA, "metadata": metadata, "flags": flags}
    return json.dumps(document, indent=2).encode() + b"\n"


def _flag(routes: list[Route]) -> dict[str, Any]:
    units = [route.unit for route in routes]
    variants = {route.unit: route.model_dump(mode="json", include={"reads", "writes", "epoch"}) for route in routes}
    unit = {"var": "unit"}
    return {
        "state": "ENABLED",
        "variants": {**variants, UNKNOWN: {"reads": NOBODY, "writes": NOBODY, "epoch": 0}},
        "defaultVariant": UNKNOWN,
        "targeting": {"if": [{"in": [unit, units]}, unit, UNKNOWN]},
    }


def routing_in(text: bytes) -> Routing:
    """The document that a file of flag definitions was made of. Raises ForeignRouting for any other file."""
    try:
        found = json.loads(text)
        migration = found["metadata"]["flagSetId"].removeprefix("medferry.")
        routes = [
            Route(unit=unit, domain=key.removeprefix(flag_key(migration, "")), **values)
            for key, flag in found["flags"].items()
            for unit, values in flag["variants"].items()
            if unit != UNKNOWN
        ]
        routing = Routing.of(migration, routes, int(found["metadata"]["version"]))
    except (ValueError, KeyError, TypeError, AttributeError, ValidationError):
        routing = None
    if routing is None or flag_definitions(routing) != text:
        raise ForeignRouting(
            "The file of MEDFERRY_ROUTING_FILE is not one that Medferry has written.",
            "Name another file, or remove this one and run `medferry routing publish`.",
        )
    return routing
