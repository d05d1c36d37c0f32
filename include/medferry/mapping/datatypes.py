"""FHIR's data types put together from parts that may be missing: a part without a value leaves no trace.

Each gives None where nothing is left that says anything, so that no mapping has to ask first. Nothing is read, guessed
or translated here: the parts are what ``ctx`` made of the columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

Element = dict[str, Any]
Coding = Mapping[str, str]
T = TypeVar("T")

UCUM = "http://unitsofmeasure.org"


def present(*items: T | None) -> list[T]:
    """The items that are there."""
    return [item for item in items if not _is_empty(item)]  # type: ignore[misc]


def element(**members: Any) -> Element | None:
    """A complex element of the members that hold something; a trailing underscore of a name is cut (``class_``)."""
    return {name.removesuffix("_"): value for name, value in members.items() if not _is_empty(value)} or None


def coding(system: str | None, code: str | None, display: str | None = None) -> dict[str, str] | None:
    """A Coding; none without a code."""
    return element(system=system, code=code, display=display) if code else None


def concept(*codings: Coding | None, text: str | None = None) -> Element | None:
    """A CodeableConcept of the codings that are there, and a text."""
    return element(coding=present(*codings), text=text)


def identifier(
    system: str | None, value: str | None, kind: Element | None = None, use: str | None = None
) -> Element | None:
    """An Identifier, `kind` its type; none without a value."""
    return element(use=use, type=kind, system=system, value=value) if value else None


def contact_point(system: str, value: str | None, use: str | None = None) -> Element | None:
    """A ContactPoint (phone, fax, email …); none without a value."""
    return element(system=system, value=value, use=use) if value else None


def human_name(
    family: str | None,
    *given: str | None,
    prefix: str | None = None,
    suffix: str | None = None,
    use: str | None = None,
) -> Element | None:
    """A HumanName; `use` alone is none."""
    said = element(family=family, given=present(*given), prefix=present(prefix), suffix=present(suffix))
    return _used(use, said)


def address(
    *lines: str | None,
    city: str | None = None,
    district: str | None = None,
    state: str | None = None,
    postal_code: str | None = None,
    country: str | None = None,
    use: str | None = None,
) -> Element | None:
    """An Address; `use` and `country` alone are none, since they are what a mapping says of all its rows."""
    said = element(line=present(*lines), city=city, district=district, state=state, postalCode=postal_code)
    return _used(use, {**said, **(element(country=country) or {})} if said else None)


def period(start: str | None, end: str | None = None) -> Element | None:
    """A Period of dates or instants."""
    return element(start=start, end=end)


def quantity(value: float | None, unit: Coding | str | None = None, comparator: str | None = None) -> Element | None:
    """A Quantity in a unit: the Coding that ``ctx.coding`` gives, or a UCUM code; none without a value."""
    if value is None:
        return None
    named = {"system": UCUM, "code": unit, "display": unit} if isinstance(unit, str) and unit else unit or {}
    said = element(unit=named.get("display"), system=named.get("system"), code=named.get("code"))
    return {"value": value, **(element(comparator=comparator) or {}), **(said or {})}


def _used(use: str | None, said: Element | None) -> Element | None:
    return {**(element(use=use) or {}), **said} if said else None


def _is_empty(value: Any) -> bool:
    return value is None or value == [] or value == {} or value == ""
