"""Which places of a resource are a mapping's, and what stands in them.

A place is a path of member names; within a list with keys (`LIST_KEYS`) a step is the key of its elements. Any other
list is one value. `get` reads the places of a footprint, `put` writes them into a resource as it stands and leaves
everything else as it is. All functions are pure: they share parts with what they are given and change none of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from medferry.fhir.canonical import Resource, owned
from medferry.fhir.merging import ElementKey, OneOf, Path

LIST_KEYS: Mapping[str, tuple[str, ...]] = {
    "identifier": ("system", "value"),
    "coding": ("system", "code"),
    "tag": ("system", "code"),
    "security": ("system", "code"),
    "telecom": ("system", "use"),
    "name": ("use",),
    "address": ("use",),
}
"""Lists whose elements are told apart by members of theirs, by the list's name; `tag` and `security` hold codings."""


Fields = Mapping[Path, Any]
"""The owned places of a resource that are not empty. Where a path ends in a key: the list of its elements."""


@dataclass(frozen=True)
class Footprint:
    """The places that are ours, each with all that is below it."""

    paths: frozenset[Path]

    def __or__(self, other: Footprint) -> Footprint:
        return Footprint(self.paths | other.paths)

    @cached_property
    def tops(self) -> tuple[Path, ...]:
        """The paths without those below another, in an order that does not depend on chance."""
        return tuple(
            sorted(
                (path for path in self.paths if not any(path[:n] in self.paths for n in range(1, len(path)))),
                key=repr,
            )
        )


def footprint_of(mapped: Resource) -> Footprint:
    """The places that a mapping's resource fills. The type, the id and what the server sets itself are nobody's."""
    content = {name: value for name, value in owned(mapped).items() if name != "resourceType"}
    return Footprint(frozenset(_places((), content)))


def get(resource: Resource, footprint: Footprint) -> Fields:
    """What the resource has in the places of the footprint."""
    found = {path: at(resource, path) for path in footprint.tops}
    return {path: value for path, value in found.items() if value is not None}


def put(resource: Resource, footprint: Footprint, fields: Fields) -> Resource:
    """The resource with `fields` in the places of the footprint, which are empty where `fields` has nothing.

    Raises ValueError when a field is in no place of the footprint, or a place is below what is no object.
    """
    if strays := set(fields) - set(footprint.tops):
        raise ValueError(f"{len(strays)} fields are outside the footprint: {', '.join(sorted(map(shown, strays)))}")
    for path in footprint.tops:
        resource = _with(resource, path, fields.get(path))
    return resource


def shown(path: Path) -> str:
    """A path to read: ``telecom[phone,home].value``. Of an identifier only the system: its value may name a person."""
    text = ""
    for number, step in enumerate(path):
        if isinstance(step, ElementKey):
            values = step.values[:1] if path[number - 1] == "identifier" else step.values
            text += f"[{','.join('' if value is None else str(value) for value in values)}]"
        else:
            text += f".{step}" if text else step
    return text


def _places(path: Path, value: Any) -> Iterable[Path]:
    if isinstance(value, dict):
        for name, member in value.items():
            yield from _places((*path, name), member)
    elif has_keys(path, value):
        yield from ((*path, key) for element in value if (key := key_of(path[-1], element)))
    else:
        yield path


def has_keys(path: Path, value: Any) -> bool:
    """Whether a value at that path is a list whose elements have keys."""
    return (
        bool(path)
        and path[-1] in LIST_KEYS
        and isinstance(value, list)
        and all(isinstance(element, dict) for element in value)
    )


def key_of(name: Any, element: Any) -> ElementKey | None:
    if not isinstance(element, dict):
        return None
    return ElementKey(tuple(_hashable(element.get(member)) for member in LIST_KEYS[name]))


def is_of(name: Any, element: Any, key: ElementKey) -> bool:
    """Whether an element is one of those that a key names."""
    own = key_of(name, element)
    if own is None or own == key:
        return own == key
    pairs = zip(own.values, key.values, strict=True)
    return all(value in wanted if isinstance(wanted, OneOf) else value == wanted for value, wanted in pairs)


def _hashable(value: Any) -> Any:
    return repr(value) if isinstance(value, dict | list) else value


def at(resource: Any, path: Path) -> Any:
    """The value at a path, for a key the list of its elements; None for an empty place."""
    found = resource
    for number, step in enumerate(path):
        if isinstance(step, ElementKey):
            name = path[number - 1]
            found = [e for e in found if is_of(name, e, step)] if isinstance(found, list) else None
        else:
            found = found.get(step) if isinstance(found, dict) else None
        if not found and found in (None, []):
            return None
    return found


def _with(content: Any, path: Path, value: Any) -> Any:
    """A copy of an object with `value` at a path, with nothing there for None; containers that this empties go too."""
    name, *rest = path
    present = content.get(name)
    if not rest:
        replaced = value
    elif isinstance(rest[0], ElementKey):
        replaced = with_elements(str(name), present, rest[0], value)
    else:
        if present is not None and not isinstance(present, dict):
            raise ValueError(f"{name} is no object: nothing can be put below it.")
        replaced = _with(present or {}, tuple(rest), value)
        if replaced == {} and present != {}:
            replaced = None
    if replaced is None:
        return {member: kept for member, kept in content.items() if member != name}
    return {**content, name: replaced}


def with_elements(name: str, present: Any, key: ElementKey, elements: Any) -> Any:
    """A list with these elements of a key, in the places where such elements stood, the others at the end."""
    pending = list(elements or ())
    result = []
    for element in present or ():
        if not is_of(name, element, key):
            result.append(element)
        elif pending:
            result.append(pending.pop(0))
    result += pending
    return result or (present if present == [] else None)
