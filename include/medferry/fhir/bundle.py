"""FHIR batch Bundles: made of conditional updates, bounded in entries and bytes, ready to be POSTed by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

Resource = dict[str, Any]
Bundle = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most that one Bundle may hold. Medplum's default limit for a synchronous body is 1 MB, inflated."""

    entries: int = 100
    bytes: int = 900_000


def identity(resource: Resource) -> tuple[str, str]:
    """The (system, value) of a resource's first identifier: its name in the crosswalk."""
    first = resource["identifier"][0]
    return first["system"], first["value"]


def conditional_update(resource: Resource) -> dict[str, Any]:
    """A batch entry that creates or updates `resource` under its first identifier."""
    url = f"{resource['resourceType']}?{_by_name(resource)}"
    return {"resource": resource, "request": {"method": "PUT", "url": url}}


def repeatable(entry: dict[str, Any]) -> dict[str, Any]:
    """The entry so that a second run of it creates nothing: a create gets ``ifNoneExist`` of its first identifier.

    An update by id repeats itself harmlessly by its ``ifMatch``, a conditional one by its condition.
    """
    if entry["request"]["method"] != "POST":
        return entry
    return {**entry, "request": {**entry["request"], "ifNoneExist": _by_name(entry["resource"])}}


def _by_name(resource: Resource) -> str:
    """The search query for the resource's first identifier."""
    system, value = identity(resource)
    return f"identifier={quote(system, safe=':/')}|{quote(value, safe='')}"


def batch(entries: list[dict[str, Any]]) -> Bundle:
    return {"resourceType": "Bundle", "type": "batch", "entry": entries}
