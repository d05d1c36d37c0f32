"""Three versions of a resource become one: the base both sides knew, ours (the legacy side) and theirs (Medplum's).

A *footprint* says which places of a resource are ours. It is a lens: `get` reads the owned places, `put` writes them
into a resource as it stands and leaves everything else as it is. `merge` compares place by place; what both sides
changed differently is a conflict, and never decided here; `Rulings` say what others have decided.

A place is a path of member names; within a list with keys (`LIST_KEYS`) a step is the key of its elements. Any other
list is one value. Elements of the same key are one place: they are merged member by member as long as there is one of
them on each side. All functions are pure: they share parts with what they are given and change none of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from medferry.fhir.canonical import Resource, owned
from medferry.fhir.merging import Conflict as Conflict
from medferry.fhir.merging import ElementKey as ElementKey
from medferry.fhir.merging import Merging, Versions, one_of_each_choice
from medferry.fhir.merging import Path as Path
from medferry.fhir.rulings import NOTHING_DECIDED, Rulings
from medferry.fhir.sides import Side

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


@dataclass(frozen=True)
class Merged:
    """`resource` is theirs with all of ours that is not in conflict: in a place in conflict stands what was theirs.

    `ruled` are the elements in which a ruling has decided between the two, and for whom.
    """

    resource: Resource = field(repr=False)
    conflicts: tuple[Conflict, ...]
    ruled: Mapping[str, Side] = field(default_factory=dict)


def footprint_of(mapped: Resource) -> Footprint:
    """The places that a mapping's resource fills. The type, the id and what the server sets itself are nobody's."""
    content = {name: value for name, value in owned(mapped).items() if name != "resourceType"}
    return Footprint(frozenset(_places((), content)))


def get(resource: Resource, footprint: Footprint) -> Fields:
    """What the resource has in the places of the footprint."""
    found = {path: _at(resource, path) for path in footprint.tops}
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


def merge(
    base: Resource, ours: Resource, theirs: Resource, footprint: Footprint, rulings: Rulings = NOTHING_DECIDED
) -> Merged:
    """Bring what we changed since `base` into `theirs`, within the footprint; where it is ruled, what was decided."""
    merging = Merging(rulings)
    merged: dict[Path, Any] = {}
    for path in footprint.tops:
        versions = (_at(base, path), _at(ours, path), _at(theirs, path))
        value = _group(path, versions, merging) if isinstance(path[-1], ElementKey) else _value(path, versions, merging)
        if value is not None:
            merged[path] = value
    resource = one_of_each_choice((), (ours, theirs), put(theirs, footprint, merged), merging)
    return Merged(resource, tuple(merging.conflicts), merging.ruled)


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


# -- places ----------------------------------------------------------------------------------------


def _places(path: Path, value: Any) -> Iterable[Path]:
    if isinstance(value, dict):
        for name, member in value.items():
            yield from _places((*path, name), member)
    elif _has_keys(path, value):
        yield from ((*path, key) for element in value if (key := _key(path[-1], element)))
    else:
        yield path


def _has_keys(path: Path, value: Any) -> bool:
    """Whether a value at that path is a list whose elements have keys."""
    return (
        bool(path)
        and path[-1] in LIST_KEYS
        and isinstance(value, list)
        and all(isinstance(element, dict) for element in value)
    )


def _key(name: Any, element: Any) -> ElementKey | None:
    if not isinstance(element, dict):
        return None
    return ElementKey(tuple(_hashable(element.get(member)) for member in LIST_KEYS[name]))


def _hashable(value: Any) -> Any:
    return repr(value) if isinstance(value, dict | list) else value


def _at(resource: Any, path: Path) -> Any:
    """The value at a path, for a key the list of its elements; None for an empty place."""
    found = resource
    for number, step in enumerate(path):
        if isinstance(step, ElementKey):
            name = path[number - 1]
            found = [e for e in found if _key(name, e) == step] if isinstance(found, list) else None
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
        replaced = _with_elements(str(name), present, rest[0], value)
    else:
        if present is not None and not isinstance(present, dict):
            raise ValueError(f"{name} is no object: nothing can be put below it.")
        replaced = _with(present or {}, tuple(rest), value)
        if replaced == {} and present != {}:
            replaced = None
    if replaced is None:
        return {member: kept for member, kept in content.items() if member != name}
    return {**content, name: replaced}


def _with_elements(name: str, present: Any, key: ElementKey, elements: Any) -> Any:
    """A list with these elements of a key, in the places where such elements stood, the others at the end."""
    pending = list(elements or ())
    result = []
    for element in present or ():
        if _key(name, element) != key:
            result.append(element)
        elif pending:
            result.append(pending.pop(0))
    result += pending
    return result or (present if present == [] else None)


# -- three versions --------------------------------------------------------------------------------


def _value(path: Path, versions: Versions, merging: Merging) -> Any:
    base, ours, theirs = versions
    if ours == theirs:
        return theirs
    if ours == base:
        return ours if merging.theirs_alone(path) is Side.LEGACY else theirs
    if theirs == base:
        return ours if merging.ours_alone(path) is Side.LEGACY else theirs
    if isinstance(ours, dict) and isinstance(theirs, dict) and isinstance(base or {}, dict):
        return _members(path, (base or {}, ours, theirs), merging)
    if all(_has_keys(path, value) for value in (base or [], ours, theirs)):
        return _elements(path, (base or [], ours, theirs), merging)
    return ours if merging.in_conflict(path, versions) is Side.LEGACY else theirs


def _members(path: Path, versions: Versions, merging: Merging) -> dict[str, Any]:
    base, ours, theirs = versions
    merged = {}
    for name in dict.fromkeys([*theirs, *ours]):
        value = _value((*path, name), (base.get(name), ours.get(name), theirs.get(name)), merging)
        if value is not None:
            merged[name] = value
    return merged


def _elements(path: Path, versions: Versions, merging: Merging) -> list[Any]:
    """Group by group; theirs keep their order, what only we have comes at the end."""
    _, ours, theirs = versions
    merged: list[Any] = theirs
    for key in dict.fromkeys(_key(path[-1], element) for element in [*theirs, *ours]):
        if key is None:
            continue
        below = (*path, key)
        groups = tuple([e for e in version if _key(path[-1], e) == key] or None for version in versions)
        value = _group(below, (groups[0], groups[1], groups[2]), merging)
        merged = _with_elements(str(path[-1]), merged, key, value) or []
    return merged


def _group(path: Path, versions: Versions, merging: Merging) -> list[Any] | None:
    """The elements of one key: a single one on each side is merged member by member, more are one value."""
    base, ours, theirs = versions
    if ours and theirs and all(len(group) == 1 for group in (base or [{}], ours, theirs)):
        return [_value(path, ((base or [None])[0], ours[0], theirs[0]), merging)]
    merged: list[Any] | None = _value(path, versions, merging)
    return merged
