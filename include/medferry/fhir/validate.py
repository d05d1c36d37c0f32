"""Validation against FHIR R4 by ``fhir.resources`` (R4B models), the ecosystem's reference in Python.

Medplum accepts what these models refuse (30 February, two ``value[x]``, a time without a zone: medplum facts), so
every resource is checked here before it is staged.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from fhir.resources.R4B import get_fhir_model_class
from pydantic import BaseModel, ValidationError


@cache
def _model(resource_type: str) -> type[BaseModel] | None:
    try:
        model: type[BaseModel] = get_fhir_model_class(resource_type)
    except KeyError:
        return None
    return model


def problems(resource: Mapping[str, Any]) -> list[str]:
    """What is wrong with a resource: "path: kind" each, without any value of it; empty when it is valid."""
    model = _model(str(resource.get("resourceType")))
    if model is None:
        return ["resourceType: unknown"]
    try:
        model.model_validate(resource)
    except ValidationError as error:
        return [_told(detail) for detail in error.errors(include_url=False, include_context=False, include_input=False)]
    return []


def _told(detail: Mapping[str, Any]) -> str:
    path = ".".join(str(step) for step in detail["loc"]) or "resource"
    return f"{path}: {detail['type']}"
