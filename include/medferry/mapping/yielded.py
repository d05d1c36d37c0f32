"""What a mapping yielded, judged before anybody uses it.

A mapping is code that somebody wrote this week: it may yield anything. Whatever is no resource that is named by its own
row is a fault of that row alone, told with its place and without its value.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import islice
from types import GeneratorType
from typing import Any

import orjson

from medferry.fhir.identifiers import IdentifierForm, form_of, names_of
from medferry.fhir.paths import shown
from medferry.mapping.declare import MappingSpec, Resource
from medferry.mapping.identity import Naming
from medferry.mapping.told import class_of

_DEPTH = 100
"""Elements that nest deeper are no resource; a resource that contains itself is the usual cause."""

_INTEGERS = 2**63
"""Beyond it, JSON libraries print no integers."""

_AS_IT_IS = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_STRICT_INTEGER


class Odd(Exception):
    """A mapping yielded what is no resource of its row. The message says what, without a value of it."""


def resources_of(spec: MappingSpec, made: Iterable[Any], key: str, naming: Naming) -> list[Resource]:
    """What the mapping `spec` made of the row `key`: at most one resource a slot, each in plain JSON and of its name.

    Raises Odd, and whatever the mapping's own code raises.
    """
    if isinstance(made, dict | str | bytes) or not isinstance(made, Iterable):
        raise Odd(f"{where(spec)} returns {_kind(made)}: it must yield resources")
    frame = made.gi_frame if isinstance(made, GeneratorType) else None  # of a generator: at its last `yield`
    # One more than there are slots: a mapping that never ends is one that fills a slot twice.
    found = [(resource, frame and frame.f_lineno) for resource in islice(made, len(spec.produces) + 1)]
    slots: set[str] = set()
    for resource, line in found:
        fault = _fault_of(resource) or _misnamed(spec, resource, key, naming, slots)
        if fault:
            place = _place(frame.f_code.co_filename, line) if frame and line else where(spec)
            raise Odd(f"{place} yields {fault}")
    return [resource for resource, _ in found]


def where(spec: MappingSpec) -> str:
    """File and line of the mapping function."""
    code = getattr(spec.function, "__code__", None)
    return _place(code.co_filename, code.co_firstlineno) if code else spec.entity


def _place(file: str, line: int) -> str:
    return f"{file.replace(chr(92), '/').rpartition('/')[2]}:{line}"


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"a {class_of(value) or 'value of a class of its own'}"


# -- JSON ----------------------------------------------------------------------------------------------


def _fault_of(resource: Any) -> str | None:
    if not isinstance(resource, dict):
        return f"{_kind(resource)} instead of a resource"
    try:
        if b"null" not in orjson.dumps(resource, option=_AS_IT_IS):
            return None  # a NaN would have been printed as null
    except TypeError:
        pass
    return _not_json(resource, ())


def _not_json(value: Any, path: tuple[int | str, ...]) -> str | None:
    """The first thing in `value` that JSON, or a JavaScript number, cannot keep as it is."""
    if len(path) > _DEPTH:
        return f"elements that nest more than {_DEPTH} deep, in {shown(path[:2])}"
    items: Iterable[tuple[int | str, Any]] = ()
    fault = None
    match value:
        case dict():
            if not all(isinstance(name, str) and _is_text(name) for name in value):
                fault = "a key that is no text"
            else:
                items = value.items()
        case list() | tuple():
            items = enumerate(value)
        case str():
            fault = None if _is_text(value) else "a text with half a surrogate pair"
        case None | bool():
            pass
        case int():
            fault = (
                None if abs(value) < _INTEGERS and int(float(value)) == value else "a number that a double cannot keep"
            )
        case float():
            fault = None if math.isfinite(value) else "a number that is not finite"
        case _:
            fault = _kind(value)
    if fault:
        return f"{fault} in {shown(path) or 'the resource'}"
    return next((told for name, item in items if (told := _not_json(item, (*path, name)))), None)


def _is_text(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= sign <= "\udfff" for sign in text)


# -- names ---------------------------------------------------------------------------------------------


_MADE = ": make it with ctx.resource(…)"


def _misnamed(spec: MappingSpec, resource: Resource, key: str, naming: Naming, slots: set[str]) -> str | None:
    """Why the resource is not the row's own; adds its slot to `slots`."""
    resource_type = resource.get("resourceType")
    if resource_type is None:
        return f"a bare dict{_MADE}"
    if resource_type not in spec.produces.values():
        return "a resource of a type that the mapping does not declare"
    form = form_of(str(resource_type))
    if form is not IdentifierForm.NONE and isinstance(resource.get("identifier"), list) != (
        form is IdentifierForm.LIST
    ):
        return _form_told(str(resource_type), resource)
    names = names_of(resource)
    slot = _slot_of(spec, resource_type, names[0][0], naming) if names else None
    what = "tag" if form is IdentifierForm.NONE else "identifier"
    if slot is None or names[0][1] != key:
        return f"{_a(resource_type)} whose first {what} is not the one that ctx.resource gave it"
    if any(name[0] == names[0][0] for name in names[1:]):
        return f"{_a(resource_type)} with a second {what} of its own system"
    if slot in slots:
        return f"a second resource for the slot {slot}"
    slots.add(slot)
    return None


def _slot_of(spec: MappingSpec, resource_type: str, system: str, naming: Naming) -> str | None:
    for slot, kind in spec.produces.items():
        if kind == resource_type and naming.system(spec.entity, slot) == system:
            return slot
    return None


def _a(resource_type: Any) -> str:
    return f"{'an' if str(resource_type)[:1] in 'AEIO' else 'a'} {resource_type}"


def _form_told(resource_type: str, resource: Resource) -> str:
    if not resource.get("identifier"):
        return f"{_a(resource_type)} without an identifier{_MADE}"
    form = "a list" if form_of(resource_type) is IdentifierForm.LIST else "one object"
    return f"{_a(resource_type)} whose identifier is not {form}"
