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
    url = f"{resource['resourceType']}?{by_name(identity(resource))}"
    return {"resource": resource, "request": {"method": "PUT", "url": url}}


def by_name(name: tuple[str, str]) -> str:
    """The search query for an identifier (system, value): what conditional operations go by."""
    system, value = name
    return f"identifier={quote(system, safe=':/')}|{quote(value, safe='')}"


def batch(entries: list[dict[str, Any]]) -> Bundle:
    return {"resourceType": "Bundle", "type": "batch", "entry": entries}
