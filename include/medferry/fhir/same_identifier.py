"""Which identifiers of three versions are one: a number that both sides changed is one number, not three.

The value is part of an identifier's key, so that a person may have several of one system. By the keys alone a changed
number would be one that went and one that came, of either side: both would stand.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from medferry.fhir.footprint import Footprint, at, has_keys, key_of
from medferry.fhir.merging import ElementKey, OneOf, Path

NAME = "identifier"

Lists = tuple[list[Any], list[Any], list[Any]]
"""The identifiers of base, ours and theirs."""


def with_one_key(footprint: Footprint, versions: Iterable[Any]) -> Footprint:
    """The footprint with one place for each identifier that both sides changed."""
    lists = {path[:-1] for path in footprint.paths if len(path) > 1 and path[-2] == NAME and _is_key(path[-1])}
    same: dict[Path, ElementKey] = {}
    for path in lists:
        base, ours, theirs = (at(version, path) or [] for version in versions)
        if all(has_keys(path, one) for one in (base, ours, theirs)):
            same |= {(*path, key): one for key, one in one_keys((base, ours, theirs)).items()}
    return Footprint(frozenset((*path[:-1], same[path]) if path in same else path for path in footprint.paths))


def one_keys(versions: Lists) -> Mapping[ElementKey, ElementKey]:
    """Key → the key of all that is the same identifier; those that are told apart by their own keys are left out.

    Where no version has two of a system, all of it are one, unless a side has none any more. Of others, where both
    sides put something else in place of the same: which replaces which, nothing tells.
    """
    found: dict[ElementKey, ElementKey] = {}
    for system in dict.fromkeys(_system(one) for version in versions for one in version):
        base, ours, theirs = ([one for one in version if _system(one) == system] for version in versions)
        if base in (ours, theirs) or ours == theirs:
            continue  # one side's change, or the same of both
        was, we, they = _keys(base), _keys(ours), _keys(theirs)
        is_single = len(ours) == len(theirs) == 1 and len(base) < 2 and we != they
        if is_single or (was - we - they and we - was - they and they - was - we):
            values = {key.values[1] for key in was | we | they}
            one_key = ElementKey((system, OneOf(sorted(values, key=repr))))
            found |= dict.fromkeys(was | we | they, one_key)
    return found


def _system(element: Any) -> Any:
    key = key_of(NAME, element)
    return key.values[0] if key else None


def _keys(elements: Collection[Any]) -> set[ElementKey]:
    return {key for one in elements if (key := key_of(NAME, one))}


def _is_key(step: Any) -> bool:
    return isinstance(step, ElementKey)
