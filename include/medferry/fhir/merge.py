"""Three versions of a resource become one: the base both sides knew, ours (the legacy side) and theirs (Medplum's).

Within a *footprint*, the places that are ours, `merge` compares place by place; what both sides changed differently is
a conflict, and never decided here; `Rulings` say what others have decided. Elements of the same key are one place: they
are merged member by member as long as there is one of them on each side.

What is one value to a reader (`one_value`: a quantity, a concept, a period, an address) is one to `merge`, whatever
places in it the footprint names: one side's stands as a whole, with what others added to it, or it is a conflict. So an
addition (a Bot's coding, a comparator) stays as long as the legacy side changes nothing of that value; once it does, a
person decides. Only a display is nobody's claim: it stays with its code while that stays, and goes with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from medferry.fhir.canonical import Resource
from medferry.fhir.footprint import Footprint, at, footprint_of, has_keys, is_of, key_of, put, with_elements
from medferry.fhir.merging import Conflict, ElementKey, Merging, Path, Versions, one_of_each_choice
from medferry.fhir.one_value import TwoWordings, is_one_value, leaves_open, meaning, whole, with_wording
from medferry.fhir.rulings import NOTHING_DECIDED, Rulings
from medferry.fhir.same_identifier import NAME, one_keys, with_one_key
from medferry.fhir.sides import Side


@dataclass(frozen=True)
class Merged:
    """`resource` is theirs with all of ours that is not in conflict: in a place in conflict stands what was theirs.

    `ruled` are the elements in which a ruling has decided between the two, and for whom.
    """

    resource: Resource = field(repr=False)
    conflicts: tuple[Conflict, ...]
    ruled: Mapping[str, Side] = field(default_factory=dict)


def merge(
    base: Resource, ours: Resource, theirs: Resource, footprint: Footprint, rulings: Rulings = NOTHING_DECIDED
) -> Merged:
    """Bring what we changed since `base` into `theirs`, within the footprint; where it is ruled, what was decided."""
    return _merged(base, ours, theirs, footprint, Merging(rulings, _type_of(theirs, ours)))


def completed(said: Resource, made: Resource) -> Resource:
    """All of `said`, and what `made` has besides, also within a value: for what was made of the very same content.

    In the order of `made`.
    """
    by_said = Merging(Rulings(in_conflict=lambda _: Side.LEGACY), by_member=True)
    return _merged({}, said, made, footprint_of(made) | footprint_of(said), by_said).resource


def _merged(base: Resource, ours: Resource, theirs: Resource, footprint: Footprint, merging: Merging) -> Merged:
    if not merging.by_member:
        footprint = Footprint(frozenset(whole(merging.resource_type, path) for path in footprint.paths))
        footprint = with_one_key(footprint, (base, ours, theirs))
    merged: dict[Path, Any] = {}
    for path in footprint.tops:
        versions = (at(base, path), at(ours, path), at(theirs, path))
        value = _group(path, versions, merging) if isinstance(path[-1], ElementKey) else _value(path, versions, merging)
        if value is not None:
            merged[path] = value
    resource = one_of_each_choice((), (ours, theirs), put(theirs, footprint, merged), merging)
    return Merged(resource, tuple(merging.conflicts), merging.ruled)


def _type_of(*versions: Resource) -> str:
    return next((str(kind) for version in versions if (kind := version.get("resourceType"))), "")


def _value(path: Path, versions: Versions, merging: Merging) -> Any:
    base, ours, theirs = versions
    if ours == theirs:
        return theirs
    if ours == base:
        return ours if merging.theirs_alone(path) is Side.LEGACY else theirs
    if theirs == base:
        return ours if merging.ours_alone(path) is Side.LEGACY else theirs
    if isinstance(ours, dict) and isinstance(theirs, dict) and isinstance(base or {}, dict):
        by_member = merging.by_member or not is_one_value(merging.resource_type, path)
        return (_members if by_member else _one_value)(path, versions, merging)
    if all(has_keys(path, value) for value in (base or [], ours, theirs)):
        return _elements(path, (base or [], ours, theirs), merging)
    return _in_conflict(path, versions, merging)


def _in_conflict(path: Path, versions: Versions, merging: Merging) -> Any:
    return versions[1] if merging.in_conflict(path, versions) is Side.LEGACY else versions[2]


def _one_value(path: Path, versions: Versions, merging: Merging) -> Any:
    """What one side alone says anew, as a whole, with the displays of both; what both do is a conflict."""
    base, ours, theirs = versions
    was, we_say, they_say = (meaning(version) for version in versions)
    both = we_say not in (was, they_say) and they_say != was
    if both and not leaves_open(merging.resource_type, path, base, ours, theirs):
        return _in_conflict(path, versions, merging)
    if merging.theirs_alone(path) is Side.LEGACY:
        return ours
    if merging.ours_alone(path) is Side.MEDPLUM:
        return theirs
    try:
        return with_wording(base, theirs, ours) if we_say == was else with_wording(base, ours, theirs)
    except TwoWordings:
        return _in_conflict(path, versions, merging)


def _members(path: Path, versions: Versions, merging: Merging) -> dict[str, Any]:
    base, ours, theirs = versions
    merged, was = {}, base or {}
    for name in dict.fromkeys([*theirs, *ours]):
        value = _value((*path, name), (was.get(name), ours.get(name), theirs.get(name)), merging)
        if value is not None:
            merged[name] = value
    return merged


def _elements(path: Path, versions: Versions, merging: Merging) -> list[Any]:
    """Group by group; theirs keep their order, what only we have comes at the end."""
    base, ours, theirs = versions
    merged: list[Any] = theirs
    same = one_keys((base, ours, theirs)) if path[-1] == NAME and not merging.by_member else {}
    keys = (key_of(path[-1], element) for element in [*theirs, *ours])
    for key in dict.fromkeys(key and same.get(key, key) for key in keys):
        if key is None:
            continue
        below = (*path, key)
        groups = tuple([e for e in version if is_of(path[-1], e, key)] or None for version in versions)
        value = _group(below, (groups[0], groups[1], groups[2]), merging)
        merged = with_elements(str(path[-1]), merged, key, value) or []
    return merged


def _group(path: Path, versions: Versions, merging: Merging) -> list[Any] | None:
    """The elements of one key: a single one on each side is merged member by member, more are one value."""
    base, ours, theirs = versions
    if ours and theirs and all(len(group) == 1 for group in (base or [{}], ours, theirs)):
        return [_value(path, ((base or [None])[0], ours[0], theirs[0]), merging)]
    merged: list[Any] | None = _value(path, versions, merging)
    return merged
