"""What a merge finds on its way: places that both sides changed, and what was decided about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from medferry.fhir import paths
from medferry.fhir.choices import choice_of
from medferry.fhir.rulings import Decide, Rulings
from medferry.fhir.sides import Side


class ElementKey(NamedTuple):
    """The step into a list with keys: the values of its key's members, None for a missing one."""

    values: tuple[Any, ...]


class OneOf(tuple[Any, ...]):
    """In a key: any of these values."""

    __slots__ = ()


Step = str | ElementKey
Path = tuple[Step, ...]

Versions = tuple[Any, Any, Any]
"""Base, ours and theirs of one place."""


@dataclass(frozen=True)
class Conflict:
    """A place that both sides changed, each otherwise; None is an empty place. The values may be patient data."""

    path: Path
    base: Any = field(repr=False)
    ours: Any = field(repr=False)
    theirs: Any = field(repr=False)


@dataclass
class Merging:
    """What has been found on the way."""

    rulings: Rulings
    resource_type: str = ""
    by_member: bool = False
    """Whether values are taken apart: only of two that say the same."""
    conflicts: list[Conflict] = field(default_factory=list)
    ruled: dict[str, Side] = field(default_factory=dict)

    def in_conflict(self, path: Path, versions: Versions) -> Side:
        """Whose value stands in a place that both changed; theirs, while it is a conflict."""
        side = self._ruling(path, self.rulings.in_conflict)
        if side is None:
            self.conflicts.append(Conflict(path, *versions))
        return side or Side.MEDPLUM

    def ours_alone(self, path: Path) -> Side:
        return self._ruling(path, self.rulings.ours_alone) or Side.LEGACY

    def theirs_alone(self, path: Path) -> Side:
        return self._ruling(path, self.rulings.theirs_alone) or Side.MEDPLUM

    def _ruling(self, path: Path, decide: Decide) -> Side | None:
        element = element_of(path)
        if side := decide(element):
            self.ruled[element] = side
        return side


def element_of(path: Path) -> str:
    """The element of a place, without the keys of lists: these may be codes or identifiers of a patient."""
    return paths.shown(step for step in path if isinstance(step, str))


def one_of_each_choice(path: Path, sides: tuple[Any, Any], merged: Any, merging: Merging) -> Any:
    """`merged` without our types of a choice for which they chose another since: a conflict of the choice."""
    if not isinstance(merged, dict):
        return merged
    ours, theirs = (side if isinstance(side, dict) else {} for side in sides)
    result = {}
    for name, value in merged.items():
        kept = one_of_each_choice((*path, name), (ours.get(name), theirs.get(name)), value, merging)
        result[name] = kept
    for choice in sorted({choice for name in merged if (choice := choice_of(name))}):
        several, in_ours, in_theirs = (_types(choice, version) for version in (merged, ours, theirs))
        if len(several) > 1 and len(in_ours) < 2 and len(in_theirs) < 2:
            place = (*path, choice)
            side = merging.in_conflict(place, (None, in_ours, in_theirs))
            kept = in_ours if side is Side.LEGACY else in_theirs
            result = {name: value for name, value in result.items() if name not in several or name in kept}
    return result


def _types(choice: str, version: Mapping[str, Any]) -> dict[str, Any]:
    """The members of an object that are types of a choice. A choice never repeats, so a list is none."""
    return {name: value for name, value in version.items() if not isinstance(value, list) and choice_of(name) == choice}
