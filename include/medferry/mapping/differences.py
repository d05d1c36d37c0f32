"""What of an edited resource does not come back from the row that it was written to, place by place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from medferry.fhir.choices import choice_of
from medferry.fhir.footprint import LIST_KEYS
from medferry.mapping.declare import Resource
from medferry.mapping.inverse import Inexpressible

_WORDING = ("text", "display")
_COMPLETED = re.compile(r"\.(text|display|type)$|coding\[")
"""What a mapping adds to a code or a reference by itself, whoever left it out."""

_NOT_COMPARED = ("resourceType", "id", "meta", "text")


class Difference(NamedTuple):
    """A place, and what stands there in the edited resource and in what comes back."""

    path: str
    edited: Any
    returned: Any

    def reason(self, was_removed: bool) -> Inexpressible | None:
        """Why it is a loss; None where the mapping has only completed a code or reference that was left open."""
        if self.edited is None:
            if _COMPLETED.search(self.path):
                return None
            return Inexpressible.CANNOT_BE_REMOVED if was_removed else Inexpressible.COMES_BACK_OTHERWISE
        if self.path.rpartition(".")[2] in _WORDING:
            return Inexpressible.OWN_WORDING
        return Inexpressible.NO_PLACE if self.returned is None else Inexpressible.COMES_BACK_OTHERWISE


def tops_of(read: Iterable[str], *resources: Resource) -> frozenset[str]:
    """The elements that legacy answers for: what the inverse `read`, what is filled, all types of a choice."""
    filled = {name for resource in resources for name in resource if name not in _NOT_COMPARED}
    return frozenset(choice_of(name) or name for name in filled.union(read))


def differences(tops: frozenset[str], edited: Resource, returned: Resource) -> list[Difference]:
    """The places below `tops` in which two resources differ."""
    names = dict.fromkeys(name for name in (*edited, *returned) if (choice_of(name) or name) in tops)
    return [found for name in names for found in _differences(name, name, edited.get(name), returned.get(name))]


def _differences(path: str, name: str, edited: Any, returned: Any) -> Iterator[Difference]:
    if same(edited, returned):
        return
    if isinstance(edited, dict) and isinstance(returned, dict):
        for member in dict.fromkeys((*edited, *returned)):
            yield from _differences(f"{path}.{member}", member, edited.get(member), returned.get(member))
    elif name in LIST_KEYS and isinstance(edited or [], list) and isinstance(returned or [], list):
        yield from _keyed(path, name, edited or [], returned or [])
    elif _objects(edited) and _objects(returned):
        for number, (one, other) in enumerate(_paired(edited, returned)):
            yield from _differences(f"{path}.{number}", "", one, other)
    else:
        yield Difference(path, edited, returned)


def _objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _paired(edited: list[Any], returned: list[Any]) -> list[tuple[Any, Any]]:
    """Each element with the one that says the same, in whatever order; then the others as they come."""
    rest, open_ = list(returned), list[int]()
    pairs: list[tuple[Any, Any]] = []
    for one in edited:
        found = next((other for other in rest if all(d.edited is None for d in _differences("", "", one, other))), None)
        if found is None:
            open_.append(len(pairs))
        else:
            rest.remove(found)
        pairs.append((one, found))
    for number in open_:
        pairs[number] = (pairs[number][0], rest.pop(0) if rest else None)
    return pairs + [(None, other) for other in rest]


def _keyed(path: str, name: str, edited: list[Any], returned: list[Any]) -> Iterator[Difference]:
    members = LIST_KEYS[name][:1] if name == "identifier" else LIST_KEYS[name]
    for key in dict.fromkeys(_key(members, element) for element in (*edited, *returned)):
        ours, theirs = ([e for e in some if _key(members, e) == key] for some in (edited, returned))
        shown = (text for member, text in zip(members, key, strict=False) if member != "code")
        place = f"{path}[{','.join(shown)}]"
        for number in range(max(len(ours), len(theirs))):
            one, other = (some[number] if number < len(some) else None for some in (ours, theirs))
            yield from _differences(place, "", one, other)


def _key(members: Iterable[str], element: Any) -> tuple[str, ...]:
    """What tells a list's element from others. A code is compared and not shown: it may say what a patient has."""
    if not isinstance(element, dict):
        return ()
    return tuple("" if element.get(member) is None else str(element[member]) for member in members)


def same(one: Any, other: Any) -> bool:
    """Whether two values say the same: one instant may be written with several offsets."""
    if one == other:
        return True
    if not (isinstance(one, str) and isinstance(other, str) and "T" in one and "T" in other):
        return False
    try:
        moments = datetime.fromisoformat(one), datetime.fromisoformat(other)
    except ValueError:
        return False
    return all(moment.tzinfo for moment in moments) and moments[0] == moments[1]
