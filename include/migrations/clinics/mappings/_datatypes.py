"""FHIR data types put together from parts that may be missing: a part without a value leaves no trace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from medferry.mapping import Context, Row

from ._columns import text

Element = dict[str, Any]
T = TypeVar("T")

OBSERVATION_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
NPI = "http://hl7.org/fhir/sid/us-npi"


def present(*items: T | None) -> list[T]:
    """The items that are there."""
    return [item for item in items if item is not None]


def element(**members: Any) -> Element | None:
    """A complex element of the members that hold something, or None when none does."""
    kept = {name: value for name, value in members.items() if value is not None and value != [] and value != {}}
    return kept or None


def concept(system: str, code: str) -> Element:
    """A CodeableConcept with a code that the mapping rules fix."""
    return {"coding": [{"system": system, "code": code}]}


def identifier(system: str, value: str | None) -> Element | None:
    """An Identifier, or None without a value."""
    return {"system": system, "value": value} if value else None


def local_identifier(ctx: Context, name: str, value: str | None) -> Element | None:
    """An Identifier that the legacy system gave: system ``{identifier_base}/{name}``."""
    return identifier(f"{ctx.settings.naming.base}/{name}", value)


def telecom(system: str, value: str | None, use: str | None = None) -> Element | None:
    """A ContactPoint, or None without a value."""
    return element(system=system, value=value, use=use) if value else None


def address(ctx: Context, row: Row, *lines: str, use: str | None = None) -> list[Element]:
    """The row's address in the United States, from the columns `lines`, city, state and postal_code; or none at all."""
    known = element(
        line=present(*(text(ctx, row, line) for line in lines)),
        city=text(ctx, row, "city"),
        state=text(ctx, row, "state"),
        postalCode=text(ctx, row, "postal_code"),
    )
    return [{**(element(use=use) or {}), **known, "country": "US"}] if known else []


def quantity(value: float | None, unit: Mapping[str, str], comparator: str | None = None) -> Element | None:
    """A Quantity in the unit of a UCUM Coding, or None without a value."""
    if value is None:
        return None
    return element(value=value, comparator=comparator, unit=unit["display"], system=unit["system"], code=unit["code"])
