"""The identifiers of a resource: most R4 types have a list of them, a few have one, and some have none.

QuestionnaireResponse, Composition and Bundle have at most one, which stands as an object where others have a list.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from typing import Any, get_args, get_origin

from fhir.resources.R4B import get_fhir_model_class


class IdentifierForm(StrEnum):
    """How a resource type holds its identifiers."""

    LIST = "list"
    ONE = "one"
    NONE = "none"


@cache
def form_of(resource_type: str) -> IdentifierForm:
    """The form of a type's `identifier`; NONE also for a name that is no type of R4."""
    try:
        field = get_fhir_model_class(resource_type).model_fields.get("identifier")
    except ValueError:
        return IdentifierForm.NONE
    if field is None:
        return IdentifierForm.NONE
    forms = (field.annotation, *get_args(field.annotation))
    return IdentifierForm.LIST if any(get_origin(form) is list for form in forms) else IdentifierForm.ONE


def identifiers_of(resource: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The identifiers of a resource, in order, whichever form they have; what is no identifier is left out."""
    found = resource.get("identifier") or []
    return [one for one in (found if isinstance(found, list) else [found]) if isinstance(one, dict)]
