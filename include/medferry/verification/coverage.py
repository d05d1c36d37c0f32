"""The closed world of an entity: each slot's resources, leaf by leaf, and what share of the leaves was compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medferry.manifest.coverage import LeafCount, summed
from medferry.verification.closed_world import ClosedWorld, count_leaves
from medferry.verification.constancy import Witness
from medferry.verification.derived import DerivedValues
from medferry.verification.ownership import Owner, SlotOwnership
from medferry.verification.pages import WrittenResource
from medferry.verification.recorder import CheckRecorder
from medferry.verification.scope import VerificationScope

NOTHING_ELSE, DECLARED = "values: nothing else", "values: declared checks"
_UNANSWERED = (
    "No check answers for these values. Write one, or say under by_hash or constants why none is needed: "
    "docs/runbooks/verify.md, The closed world."
)
SHARE = "acceptance: compared share"

Items = Sequence[tuple[WrittenResource, dict[str, Any]]]


@dataclass
class Coverage:
    """The pass over one entity's resources, whether or not it has checks."""

    scope: VerificationScope
    entity: str
    recorder: CheckRecorder
    faults: Counter[str] = field(default_factory=Counter)
    """Slot → differences."""

    def __post_init__(self) -> None:
        migration, checks = self.scope.migration, self.scope.checks(self.entity)
        derived = DerivedValues(migration.plan.base, migration.checks.tables)
        self._worlds: dict[str, tuple[SlotOwnership, ClosedWorld]] = {}
        self._bare: dict[str, list[int]] = {}
        for slot, system in self.scope.systems(self.entity).items():
            if checks is None or not checks.compares(slot):
                self._bare[slot] = []
                continue

            def report(whose: Witness, path: str, kind: str, slot: str = slot) -> None:
                self.faults[slot] += 1
                self.recorder.different(NOTHING_ELSE, whose.key, path, kind, whose.place)

            owners = SlotOwnership(checks, slot, system, migration.plan.base)
            self._worlds[slot] = owners, ClosedWorld(self.scope.type_of(self.entity, slot), derived, report)

    def examine(self, slot: str, items: Items, rows: Mapping[str, dict[str, Any]] | None) -> None:
        """Account for the leaves of a page's resources; `rows` are the legacy rows by key, None without an answer."""
        if slot in self._bare:
            self._bare[slot] += [count_leaves(resource) for _, resource in items]
            return
        owners, world = self._worlds[slot]
        for written, resource in items:
            row = rows.get(written.key) if rows else None
            compared = row is not None and self.scope.choice.takes(self.entity, written.key)
            whose = Witness(written.key, written.place)
            world.examine(resource, owners.owned(resource, row), whose, compared)

    def finish(self) -> None:
        """Tell what deviates from the others, how much was compared, and of what nothing was."""
        counts: list[LeafCount] = []
        for slot, (_, world) in self._worlds.items():
            world.finish()
            self.recorder.equal(NOTHING_ELSE, max(world.resources - self.faults[slot], 0))
            leaves = (world.leaves[owner] for owner in (Owner.VALUE, Owner.RULE, Owner.HASH))
            counts.append(LeafCount(self.entity, slot, world.resources, *leaves))
        counts += [LeafCount(self.entity, slot, len(each), 0, 0, sum(each)) for slot, each in self._bare.items()]
        self.recorder.expect(NOTHING_ELSE, _UNANSWERED if self.faults.total() else "")
        self.recorder.leaves += counts
        acceptance = self.scope.migration.plan.acceptance
        self._judge_share(counts, acceptance.min_compared_share)
        self._judge_bare(acceptance.hashes_only)

    def _judge_share(self, counts: list[LeafCount], least: float) -> None:
        whole = summed(self.entity, counts)
        if not least or not whole.resources:
            return
        share = f"{whole.compared_share:.1%} of {whole.total:,} leaf values compared; at least {least:.1%} demanded"
        self.recorder.expect(SHARE, share)
        if whole.compared_share < least:
            self.recorder.over_limit(SHARE, self.entity, share, "too little")
        else:
            self.recorder.equal(SHARE)

    def _judge_bare(self, accepted: Mapping[str, str]) -> None:
        """Nothing compared is no proof of the values, unless the plan says why that is accepted."""
        resources = sum(len(each) for each in self._bare.values())
        slots = ", ".join(slot for slot, each in self._bare.items() if each)
        if self.entity in accepted and resources:
            self.recorder.equal(DECLARED, resources)
            self.recorder.expect(DECLARED, f"By hashes alone, as the plan accepts: {accepted[self.entity]}")
        elif resources:
            note = f"No checks are declared for {slots}: the values are proven by their hashes alone."
            self.recorder.hashes_only(DECLARED, resources, note)
