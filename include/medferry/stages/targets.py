"""Targets of a load: staged entries as source units, their references made literal from the crosswalk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medferry.fhir.bundle import identity
from medferry.fhir.canonical import content_hash
from medferry.fhir.references import parse_conditional, references, with_references
from medferry.manifest.crosswalk import Known, Name

Resource = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """A resource ready to be written: its references are literal. `hash` is over what its writer owns."""

    name: Name
    resource: Resource
    hash: str

    @property
    def type(self) -> str:
        return str(self.resource["resourceType"])


@dataclass(frozen=True, slots=True)
class LoadUnit:
    """One source unit with the resources it became, as staged (references conditional)."""

    key: str
    resources: tuple[Resource, ...]


def wanted_names(resources: list[Resource]) -> set[Name]:
    """Every identifier that the conditional references of `resources` point at."""
    found = set()
    for resource in resources:
        for reference in references(resource):
            parsed = parse_conditional(reference["reference"])
            if parsed:
                found.add(parsed[1:])
    return found


def unresolved(resource: Resource, known: Mapping[Name, Known]) -> list[Name]:
    """The referenced identifiers that `known` lacks."""
    return sorted(name for name in wanted_names([resource]) if name not in known)


def resolved(resource: Resource, known: Mapping[Name, Known]) -> Target:
    """The resource with literal references. Raises KeyError when one is not in `known`."""

    def literal(reference: dict[str, Any]) -> dict[str, Any]:
        parsed = parse_conditional(reference["reference"])
        if parsed is None:
            return reference
        found = known[parsed[1], parsed[2]]
        return {**reference, "reference": f"{found.resource_type}/{found.medplum_id}"}

    ready = with_references(resource, literal)
    return Target(identity(ready), ready, content_hash(ready))
