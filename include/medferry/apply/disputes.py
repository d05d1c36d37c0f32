"""What both systems have in different ways: what is decided about that already, and what is told of it anew. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from medferry.apply.targets import ResolvedResource
from medferry.fhir.rulings import NOTHING_DECIDED, WHOLE, Rulings, by_elements
from medferry.fhir.sides import Side
from medferry.manifest.conflicts import Versions
from medferry.manifest.crosswalk import Name

Content = tuple[str, bytes]
"""(version, JSON) of a resource as Medplum has it."""


@dataclass(frozen=True, slots=True)
class Dispute:
    """A resource that both sides changed. `version` is "" where Medplum has it no more, `base` None where not certain.

    `sides` is what the plan decides about it: element → the side that wins. Without them a person is to decide.
    """

    target: ResolvedResource
    medplum_id: str
    version: str = ""
    elements: tuple[str, ...] = (WHOLE,)
    base: bytes | None = field(default=None, repr=False)
    theirs: bytes | None = field(default=None, repr=False)
    sides: Mapping[str, Side] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decided:
    """What people decided about exactly these versions: element → the side that wins."""

    versions: Versions
    sides: Mapping[str, Side]


def _no_rulings(_: ResolvedResource) -> Rulings:
    return NOTHING_DECIDED


@dataclass(frozen=True, slots=True)
class Arbitration:
    """What is decided about the resources of a chunk: by people, of exact versions; by the plan, of all."""

    decided: Mapping[Name, Decided] = field(default_factory=dict)
    row_digests: Mapping[str, str] = field(default_factory=dict)
    """Source key → the digest of its row."""
    by_plan: Callable[[ResolvedResource], Rulings] = _no_rulings
    sent: Callable[[Name, Content], bool] = lambda *_: False
    """Whether a content is what was sent for the name by an earlier worker: then a decision was done in part."""

    def sides(self, target: ResolvedResource, content: Content | None) -> Mapping[str, Side]:
        """What people decided, if it was about this row and this version (None: it is deleted); else nothing."""
        decided = self.decided.get(target.name)
        if decided is None:
            return {}
        version = content[0] if content else ""
        if content and self.sent(target.name, content):
            version = decided.versions.version_id
        present = Versions(version, self.row_digests.get(target.name[1], ""), target.hash)
        return decided.sides if decided.versions.same_as(present) else {}

    def rulings(self, target: ResolvedResource, content: Content) -> Rulings:
        """What people decided, and for the rest what the plan says."""
        by_plan, sides = self.by_plan(target), self.sides(target, content)
        if side := sides.get(WHOLE):
            return Rulings.of_all(side)
        if not sides:
            return by_plan
        decide = by_elements(sides)
        return replace(by_plan, in_conflict=lambda element: decide(element) or by_plan.in_conflict(element))

    def recreates(self, target: ResolvedResource) -> bool:
        """Whether it is decided to create again what was deleted in Medplum."""
        return self.sides(target, None).get(WHOLE) is Side.LEGACY


UNDISPUTED = Arbitration()
"""Where no way of synchronisation writes."""
