"""Validation against FHIR R4 by ``fhir.resources`` (R4B models), the ecosystem's reference in Python.

Medplum accepts what these models refuse (two ``value[x]``, a time without a zone, before 5.2 also 30 February:
docs/medplum.md, "Validation"), so every resource is checked here before it is staged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from fhir.resources.R4B import get_fhir_model_class
from fhir.resources.R4B.resource import Resource
from pydantic import ValidationError

from medferry.fhir.fast_validate import certainly_valid
from medferry.fhir.paths import shown

_ELEMENT_LIST = re.compile(r"\['[A-Za-z]+'(, '[A-Za-z]+')*\]")


@cache
def _model(resource_type: str) -> type[Resource] | None:
    try:
        model = get_fhir_model_class(resource_type)
    except ValueError:
        return None
    return model if issubclass(model, Resource) else None


def problems(resource: Mapping[str, Any]) -> list[str]:
    """What is wrong with a resource: "path: kind" each, without any value of it; empty when it is valid."""
    model = _model(str(resource.get("resourceType")))
    if model is None:
        return ["resourceType: unknown"]
    return [] if certainly_valid(model, resource) else _verdict(model, resource)


def _verdict(model: type[Resource], resource: Mapping[str, Any]) -> list[str]:
    try:
        model.model_validate(resource)
    except ValidationError as error:
        return [_told(detail) for detail in error.errors(include_url=False, include_context=False, include_input=False)]
    except Exception as error:  # noqa: BLE001 - the models stumble over a few faults (a contained resource of no type)
        return [f"resource: cannot be validated ({type(error).__name__})"]
    return []


def _told(detail: Mapping[str, Any]) -> str:
    path = shown(detail["loc"]) or "resource"
    # For rules over several elements the message lists their names; nothing else of it is safe to repeat.
    names = _ELEMENT_LIST.search(detail["msg"]) if detail["type"] == "value_error" else None
    return f"{path}: {detail['type']}" + (f" {names[0]}" if names else "")
