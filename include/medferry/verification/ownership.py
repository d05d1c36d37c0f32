"""Who answers for each leaf value of a resource: a check that compares it, a rule, or a hash that was declared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import Any

from medferry.definition.checks import Check, EntityChecks
from medferry.fhir.identifiers import NameParameter, parameter_of
from medferry.fhir.selection import NotSelectable, Select, Selected, selection
from medferry.verification.legacy import condition
from medferry.verification.meaning import TAG_SYSTEM

Row = Mapping[str, Any]


class Owner(IntEnum):
    """What proves a value; the higher proves more."""

    HASH = 1
    """That it is as it was written."""
    RULE = 2
    """A constant, a name's table, the rules of identifiers and references."""
    VALUE = 3
    """A comparison with the legacy database."""


@dataclass(slots=True)
class Owned:
    """The owned places of one resource: (id of the container, name or index) → owner. Holds while the resource does.

    `whole` are the lists (by id) whose number and order of items a check compares, `alike` the places whose values are
    compared only as one: a missing one is not noticed.
    """

    places: dict[tuple[int, Any], Owner] = field(default_factory=dict)
    whole: set[int] = field(default_factory=set)
    alike: set[tuple[int, Any]] = field(default_factory=set)

    def own(self, container: Any, names: Iterable[Any], owner: Owner) -> None:
        for name in names:
            at = (id(container), name)
            if owner > self.places.get(at, 0):
                self.places[at] = owner


@dataclass(frozen=True, slots=True)
class _Claim:
    """One check: what it selects, what it owns of that, and under which SQL condition."""

    select: Select
    own: Callable[[Owned, Selected], None]
    condition: str | None = None


@dataclass(frozen=True)
class SlotOwnership:
    """What the checks of a slot own in its resources."""

    checks: EntityChecks
    slot: str
    system: str
    base: str

    def owned(self, resource: dict[str, Any], row: Row | None) -> Owned:
        """The owned places; of a check that does not hold for the legacy `row` nothing is owned."""
        found = Owned()
        self._named(resource, found)
        for claim in self._claims:
            if claim.condition is None or row is None or row[claim.condition]:
                claim.own(found, claim.select(resource, self.base))
        return found

    def _named(self, resource: dict[str, Any], found: Owned) -> None:
        """What the rules of naming prove: source and tag of the migration, and the record's own identifier."""
        found.own(resource, ("resourceType", "id"), Owner.RULE)
        meta = resource.get("meta", {})
        found.own(meta, ("source",), Owner.RULE)
        is_tagged = parameter_of(str(resource.get("resourceType"))) is NameParameter.TAG
        for tag in meta.get("tag", ()):
            if tag.get("system") == TAG_SYSTEM or (is_tagged and tag.get("system") == self.system):
                found.own(tag, ("system", "code"), Owner.RULE)
        identifiers = resource.get("identifier", ())
        for each in identifiers if isinstance(identifiers, list) else (identifiers,):
            if isinstance(each, dict) and each.get("system") == self.system:
                found.own(each, ("system", "value"), Owner.RULE)

    @cached_property
    def _claims(self) -> list[_Claim]:
        found = [
            _Claim(select, _owning(check), check.where and condition(check.where))
            for check in self.checks.checks(self.slot)
            if (select := _selection(check.path)) is not None
        ]
        many = self.checks.many(self.slot)
        found += [_Claim(selection(each.path), _owning(each.single, each.order is not None)) for each in many]
        found += [_Claim(selection(path), _own_constants) for path in self.checks.constants_of(self.slot)]
        return found + [_Claim(selection(path), _own_hashes) for path in self.checks.hashed(self.slot)]


def _selection(path: str) -> Select | None:
    try:
        return selection(path)
    except NotSelectable:
        return None


_MEMBERS: Mapping[str, tuple[str, ...]] = {
    "quantity": ("value", "comparator", "system", "code"),
    "code": ("system", "code"),
    "reference": ("reference",),
    "document": ("data", "url"),
}
"""Comparator → the members of an object that it compares."""


def _owning(check: Check, whole: bool = False) -> Callable[[Owned, Selected], None]:
    members = _MEMBERS.get(check.compare, ())
    if check.media_type:
        members = (*members, "contentType")
    compares = check.compare != "absent"

    def own(found: Owned, selected: Selected) -> None:
        owner = Owner.RULE if selected.alike else Owner.VALUE
        for container, name, value in selected.places if compares else ():
            if isinstance(value, dict):
                passed = ("url",) if "data" in value else ()  # the bytes beside it were compared, and not it
                found.own(value, (each for each in members if each in value and each not in passed), owner)
                for coding in value.get("coding", ()) if check.compare == "code" else ():  # of a concept in a list
                    found.own(coding, (each for each in members if each in coding), owner)
            elif container is not None:
                found.own(container, (name,), owner)
                if selected.alike:
                    found.alike.add((id(container), name))
            if whole and isinstance(container, list):
                found.whole.add(id(container))
        for container, name, _ in selected.tested:
            found.own(container, (name,), Owner.RULE)
        found.whole.update(id(container) for container, _, _ in selected.counted if isinstance(container, list))

    return own


def _own_constants(found: Owned, selected: Selected) -> None:
    for container, name, _ in (*selected.places, *selected.tested):
        found.own(container, (name,), Owner.RULE)


def _own_hashes(found: Owned, selected: Selected) -> None:
    for container, name, _ in selected.places:
        found.own(container, (name,), Owner.HASH)
