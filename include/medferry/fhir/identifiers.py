"""The identifiers and the names of a resource: most R4 types have a list of identifiers, a few one, some none.

QuestionnaireResponse, Composition and Bundle have at most one, which stands as an object where others have a list.
Provenance, AuditEvent and others have none: what names such a resource is a tag of its `meta`, which every type has
and Medplum searches (`_tag`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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


class NameParameter(StrEnum):
    """The search parameter by which the resources of a type are found under their names."""

    IDENTIFIER = "identifier"
    TAG = "_tag"


def parameter_of(resource_type: str) -> NameParameter:
    """By what the resources of a type are named and found."""
    return NameParameter.TAG if form_of(resource_type) is IdentifierForm.NONE else NameParameter.IDENTIFIER


def names_of(resource: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The (system, value) of whatever may name a resource, in order: its identifiers, or its tags if it has none.

    What is no text is left out.
    """
    if parameter_of(str(resource.get("resourceType"))) is NameParameter.IDENTIFIER:
        pairs = [(one.get("system", ""), one.get("value", "")) for one in identifiers_of(resource)]
    else:
        meta = resource.get("meta")
        tags = meta.get("tag") if isinstance(meta, dict) else None
        found = tags if isinstance(tags, list) else []
        pairs = [(tag.get("system", ""), tag.get("code", "")) for tag in found if isinstance(tag, dict)]
    return [(system, value) for system, value in pairs if isinstance(system, str) and isinstance(value, str)]


def identifiers_of(resource: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The identifiers of a resource, in order, whichever form they have; what is no identifier is left out."""
    found = resource.get("identifier") or []
    return [one for one in (found if isinstance(found, list) else [found]) if isinstance(one, dict)]


def has_lost(resource: Mapping[str, Any], name: tuple[str, str], like: Mapping[str, Any]) -> bool:
    """Whether a resource no longer carries a name that `like` does."""
    return name not in names_of(resource) and name in names_of(like)


def named_again(resource: Mapping[str, Any], name: tuple[str, str], like: Mapping[str, Any]) -> dict[str, Any]:
    """A resource under a name that somebody has taken away from it, as `like` carries it; else as it is."""
    if not has_lost(resource, name, like):
        return dict(resource)
    form = form_of(str(resource.get("resourceType")))
    if form is IdentifierForm.ONE:
        return {**resource, "identifier": like["identifier"]}
    if form is IdentifierForm.LIST:
        return {**resource, "identifier": [*identifiers_of(resource), *_of_name(identifiers_of(like), "value", name)]}
    meta = resource.get("meta") or {}
    tags = [*(meta.get("tag") or []), *_of_name(like["meta"]["tag"], "code", name)]
    return {**resource, "meta": {**meta, "tag": tags}}


def _of_name(elements: Iterable[Mapping[str, Any]], member: str, name: tuple[str, str]) -> list[Mapping[str, Any]]:
    return [one for one in elements if (one.get("system"), one.get(member)) == name]
