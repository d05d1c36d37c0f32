"""Whether FHIR has the elements that a path names: a typo in a path finds nothing, and looks like a lost value."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from types import NoneType
from typing import Any, get_args, get_origin

from fhir.resources.R4B import get_fhir_model_class
from fhir_core import types as fhir

_LITERAL = re.compile(r"'(?:[^'\\]|\\.)*'")
_CALL_OR_INDEX = re.compile(r"\.\w+\([^()]*\)|\[\d+\]")
_MEMBERS = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*)*")


def fault_in(path: str, resource_type: str) -> str | None:
    """What is wrong with a FHIRPath of members, filters and indexes; None: nothing, or it is not of that form."""
    found = _walk(path, resource_type)
    return found if isinstance(found, str) else None


def is_concept(path: str, resource_type: str) -> bool:
    """Whether a FHIRPath leads to a CodeableConcept, whose codes are in its `coding`."""
    return getattr(_walk(path, resource_type), "__name__", "") == "CodeableConcept"


def _walk(path: str, resource_type: str) -> Any:
    """The model at the end of a path, a sentence on what is wrong with it, or None where nothing more is known."""
    members = _members(path)
    if members is None:
        return None
    at: Any = get_fhir_model_class(resource_type)
    steps = members[1:] if members[0] == resource_type else members
    for number, step in enumerate(steps):
        below = _elements(at)
        if step not in below:
            near = get_close_matches(step, list(below), n=1)
            of = ".".join([resource_type, *steps[:number]])
            return f"FHIR has no element {step} in {of}" + (f"; did you mean {near[0]}?" if near else "")
        at = below[step]
        if at is None:
            return None
    return at


def fault_in_all(path: str, resource_types: Iterable[str]) -> str:
    """The fault of a path that is wrong for each of some types, as a sentence; empty where it fits one."""
    faults = [fault_in(path, kind) for kind in resource_types]
    return f"{faults[0]}.".replace("?.", "?") if faults and all(faults) else ""


def _members(path: str) -> list[str] | None:
    """The members along a path, without filters, functions and indexes; None for another kind of expression."""
    text = _LITERAL.sub("''", path).strip()
    while (plain := _CALL_OR_INDEX.sub("", text)) != text:
        text = plain
    return text.split(".") if _MEMBERS.fullmatch(text) else None


@cache
def _elements(model: Any) -> dict[str, Any]:
    """Name → the model of what is below it, None for a primitive or any type. A choice has its short name, too."""
    found: dict[str, Any] = {}
    for field in model.model_fields.values():
        if field.alias:
            found[field.alias] = _model(field.annotation)
            extra = field.json_schema_extra
            if isinstance(extra, dict) and extra.get("one_of_many"):
                found[str(extra["one_of_many"])] = None
    return found


def _model(annotation: Any) -> Any:
    """The model of an annotation's elements."""
    inner = [argument for argument in get_args(annotation) if argument is not NoneType]
    if inner and (get_origin(annotation) is list or NoneType in get_args(annotation)):
        return _model(inner[0])
    if isinstance(annotation, type) and annotation.__bases__ == (fhir.FhirBase,):
        return annotation.get_model_klass()  # type: ignore[attr-defined]
    return None
