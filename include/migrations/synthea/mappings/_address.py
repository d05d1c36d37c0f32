"""Addresses and places of the export."""

from __future__ import annotations

import re
from typing import Any

from medferry.mapping import Context, Row

from ._row import text

GEOLOCATION = "http://hl7.org/fhir/StructureDefinition/geolocation"
_DEGREES = re.compile(r"-?\d{1,3}(\.\d+)?")


def address(ctx: Context, row: Row, state: str = "state", district: str | None = None) -> list[dict[str, Any]]:
    """The row's address as it stands, with its place on the map; nothing when no part is filled in.

    The export names no country, so none is written.
    """
    line = text(ctx, row, "address")
    parts = {
        "extension": geolocation(ctx, row) if "lat" in row else [],
        "line": [line] if line else [],
        "city": text(ctx, row, "city"),
        "district": text(ctx, row, district) if district else None,
        "state": text(ctx, row, state),
        "postalCode": text(ctx, row, "zip"),
    }
    known = {name: value for name, value in parts.items() if value}
    return [known] if known else []


def geolocation(ctx: Context, row: Row) -> list[dict[str, Any]]:
    """FHIR's geolocation extension of `lat` and `lon`, when both are filled in."""
    latitude, longitude = _degrees(ctx, row, "lat"), _degrees(ctx, row, "lon")
    if latitude is None or longitude is None:
        return []
    values = (("latitude", latitude), ("longitude", longitude))
    return [{"url": GEOLOCATION, "extension": [{"url": url, "valueDecimal": value} for url, value in values]}]


def _degrees(ctx: Context, row: Row, column: str) -> float | None:
    """Degrees as a double. Synthea prints all 17 digits of one, which ``ctx.number`` takes for a loss."""
    value = text(ctx, row, column)
    if value is None:
        return None
    if not _DEGREES.fullmatch(value):
        raise ctx.quarantine("not-a-number", column)
    return float(value)
