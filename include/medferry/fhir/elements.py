"""Whether FHIR has the elements that a path names: a typo in a path finds nothing, and looks like a lost value."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache, lru_cache
from types import NoneType
from typing import Any, get_args, get_origin

from fhir.resources.R4B import get_fhir_model_class
from fhir_core import types as fhir

_LITERAL = re.compile(r"'(?:[^'\\]|\\.)*'")
_CALL_OR_INDEX = re.compile(r"\.\w+\([^()]*\)|\[\d+\]")
_MEMBERS = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*)*")


def fault_in(path: str, resource_type: str) -> str | None:
    """What is wrong with a FHIRPath of members, filters and indexes; None: nothing, or it is not of that form."""
    ways = (_walk(members, resource_type) for members in _ways(path))
    return next((found for found in ways if isinstance(found, str)), None)


def is_concept(path: str, resource_type: str) -> bool:
    """Whether a FHIRPath leads to a CodeableConcept, whose codes are in its `coding`."""
    ways = _ways(path)
    return len(ways) == 1 and getattr(_walk(ways[0], resource_type), "__name__", "") == "CodeableConcept"


@lru_cache(maxsize=10_000)
def type_of(resource_type: str, members: tuple[str, ...]) -> str:
    """The type of an element, ``Quantity``; of a structure of the resource's own the model's name, ``PatientContact``.

    Empty for a primitive, for any resource, and for what the models do not know.
    """
    try:
        at: Any = get_fhir_model_class(resource_type)
    except ValueError:
        return ""
    for name in members:
        at = _elements(at).get(name) if at is not None else None
    return str(getattr(at, "__name__", ""))


def _walk(members: list[str], resource_type: str) -> Any:
    """The model at the end of a path, a sentence on what is wrong with it, or None where nothing more is known."""
    at: Any = get_fhir_model_class(resource_type)
    steps = members[1:] if members[0] == resource_type else members
    for number, step in enumerate(steps):
        below = _elements(at)
        if step not in below:
            of = ".".join([resource_type, *steps[:number]])
            if choices := _choices(at).get(step):
                names = ", ".join(choices[:4]) + (" …" if choices[4:] else "")
                return f"in JSON {step} of {of} is called by its type: {names}"
            near = get_close_matches(step, list(below), n=1)
            return f"FHIR has no element {step} in {of}" + (f"; did you mean {near[0]}?" if near else "")
        at = below[step]
        if at is None:
            return None
    return at


def fault_in_all(path: str, resource_types: Iterable[str]) -> str:
    """The fault of a path that is wrong for each of some types, as a sentence; empty where it fits one."""
    faults = [fault_in(path, kind) for kind in resource_types]
    return f"{faults[0]}.".replace("?.", "?") if faults and all(faults) else ""


def _ways(path: str) -> list[list[str]]:
    """The members along each path of a union, without filters, functions and indexes; none of other expressions."""
    text = _LITERAL.sub("''", path).strip()
    while (plain := _CALL_OR_INDEX.sub("", text)) != text:
        text = plain
    ways = [way.strip() for way in text.split("|")]
    return [way.split(".") for way in ways] if all(map(_MEMBERS.fullmatch, ways)) else []


@cache
def _elements(model: Any) -> dict[str, Any]:
    """Name in JSON → the model of what is below it, None for a primitive or any type."""
    return {field.alias: _model(field.annotation) for field in model.model_fields.values() if field.alias}


@cache
def _choices(model: Any) -> dict[str, list[str]]:
    """The name that FHIR has for an element of several types → its names in JSON, which alone are found."""
    found: dict[str, list[str]] = {}
    for field in model.model_fields.values():
        extra = field.json_schema_extra
        if isinstance(extra, dict) and extra.get("one_of_many") and not (field.alias or "_").startswith("_"):
            found.setdefault(str(extra["one_of_many"]), []).append(field.alias)
    return found


def _model(annotation: Any) -> Any:
    """The model of an annotation's elements."""
    inner = [argument for argument in get_args(annotation) if argument is not NoneType]
    if inner and (get_origin(annotation) is list or NoneType in get_args(annotation)):
        return _model(inner[0])
    if isinstance(annotation, type) and annotation.__bases__ == (fhir.FhirBase,):
        return annotation.get_model_klass()  # type: ignore[attr-defined]
    return None
