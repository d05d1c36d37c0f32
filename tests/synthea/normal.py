"""One form for both sides of the parity test: references by identity, reasons and medications as codes.

What is set aside on both sides, because it is a name and no content: `id`, `meta`, `text`, the display of references,
the identifier that carries the resource's own source key, and codings of the migration's own local systems.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from medferry.fhir.references import parse_conditional

Resource = dict[str, Any]

SYNTHEA = "https://github.com/synthetichealth/synthea"
NPI = "http://hl7.org/fhir/sid/us-npi"
REASON = "http://hl7.org/fhir/StructureDefinition/workflow-reasonCode"
_NAMES = ("id", "meta", "text", "resourceType")


class Ours:
    """Our resources: references hold source keys, and so do the first identifiers."""

    def __init__(self, base: str) -> None:
        self.base = base

    def identity(self, resource: Resource) -> str:
        return str(resource["identifier"][0]["value"])

    def target(self, reference: Mapping[str, Any]) -> str:
        resource_type, _, value = parse_conditional(reference["reference"]) or ("", "", "")
        return f"{resource_type}/{value}"

    def normal(self, resource: Resource) -> Resource:
        kept = {name: value for name, value in resource.items() if name not in _NAMES}
        kept["identifier"] = kept["identifier"][1:]
        reasons = [e["valueCodeableConcept"] for e in kept.get("extension", []) if e["url"] == REASON]
        if reasons:
            kept["extension"] = [e for e in kept["extension"] if e["url"] != REASON]
            kept["reasonCode"] = reasons
        tree: Resource = _rewritten(kept, self.target, f"{self.base}/CodeSystem/")
        return tree


class Theirs:
    """Synthea's FHIR: references are urn:uuid ids, or conditional by NPI or by Synthea's identifier."""

    def __init__(self, resources: Iterable[Resource]) -> None:
        self.by_id = {resource["id"]: resource for resource in resources}
        self.by_name = {
            (identifier["system"], identifier["value"]): resource
            for resource in self.by_id.values()
            if resource["resourceType"] in {"Organization", "Practitioner", "Location"}
            for identifier in resource["identifier"]
        }

    def identity(self, resource: Resource) -> str:
        return str(resource["id"])

    def resolve(self, reference: Mapping[str, Any]) -> Resource | None:
        if "identifier" in reference:
            return self.by_name.get((reference["identifier"]["system"], reference["identifier"]["value"]))
        conditional = parse_conditional(reference["reference"])
        if conditional:
            return self.by_name.get(conditional[1:])
        return self.by_id.get(reference["reference"].removeprefix("urn:uuid:"))

    def target(self, reference: Mapping[str, Any]) -> str:
        found = self.resolve(reference)
        return f"{found['resourceType']}/{found['id']}" if found else "unresolved"

    def normal(self, resource: Resource) -> Resource:
        kept = {name: value for name, value in resource.items() if name not in _NAMES}
        kept["identifier"] = [i for i in kept.get("identifier", []) if i["value"] != resource["id"] or "type" in i]
        reasons = kept.pop("reasonReference", None) or kept.pop("addresses", None)
        if reasons:
            kept["reasonCode"] = [self._code(reference) for reference in reasons]
        if "medicationReference" in kept:
            kept["medicationCodeableConcept"] = self._code(kept.pop("medicationReference"))
        tree: Resource = _rewritten(kept, self.target, None)
        return tree

    def _code(self, reference: Mapping[str, Any]) -> Resource:
        found = self.resolve(reference)
        assert found is not None, "the reference FHIR is whole"
        code: Resource = found["code"]
        return code


def _rewritten(value: Any, target: Any, local: str | None) -> Any:
    """`value` with references as text and without codings of local systems."""
    if isinstance(value, dict):
        if isinstance(value.get("reference"), str) or _is_logical(value):
            return target(value)
        return {name: _rewritten(item, target, local) for name, item in value.items()}
    if isinstance(value, list):
        kept = [item for item in value if not (local and _is_local(item, local))]
        return [_rewritten(item, target, local) for item in kept]
    return value


def _is_logical(value: Mapping[str, Any]) -> bool:
    return isinstance(value.get("identifier"), dict) and set(value) <= {"identifier", "display"}


def _is_local(item: Any, local: str) -> bool:
    return isinstance(item, dict) and "code" in item and str(item.get("system", "")).startswith(local)


def leaves(value: Any, path: str = "") -> Iterable[tuple[str, Any]]:
    """Every (path, value) at the ends of a tree. ``[…]`` in a path tells list members apart."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from leaves(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from leaves(item, path + _label(item, position))
    else:
        yield path, value


def _label(item: Any, position: int) -> str:
    """How a list member is told apart: by what it is about where it says so, else by its place."""
    if isinstance(item, dict):
        if "url" in item:
            return f":{item['url'].rsplit('/', 1)[-1]}"
        if "use" in item and "family" in item:
            return f":{item['use']}"
        if isinstance(item.get("type"), dict) and "value" in item:
            return f":{item['type']['coding'][0]['code']}"
        concept = item.get("code") or (item.get("manifestation") or [item])[0]
        if isinstance(concept, dict) and concept.get("coding"):
            return f"[{concept['coding'][0]['code']}]"
    return f"[{position}]"


def field_of(path: str) -> str:
    """The field that a path is an instance of."""
    return re.sub(r"\[[^]]*\]", "", path)
