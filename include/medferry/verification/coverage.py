"""The closed world of an entity: each slot's resources, leaf by leaf, and what share of the leaves was compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medferry.verification.closed_world import ClosedWorld
from medferry.verification.constancy import Witness
from medferry.verification.derived import DerivedValues
from medferry.verification.ownership import SlotOwnership
from medferry.verification.pages import WrittenResource
from medferry.verification.recorder import CheckRecorder
from medferry.verification.scope import VerificationScope

NOTHING_ELSE = "values: nothing else"

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
        for slot, system in self.scope.systems(self.entity).items() if checks else ():
            assert checks is not None
            if not checks.compares(slot):
                continue

            def report(whose: Witness, path: str, kind: str, slot: str = slot) -> None:
                self.faults[slot] += 1
                self.recorder.different(NOTHING_ELSE, whose.key, path, kind, whose.place)

            owners = SlotOwnership(checks, slot, system, migration.plan.base)
            self._worlds[slot] = owners, ClosedWorld(self.scope.type_of(self.entity, slot), derived, report)

    def examine(self, slot: str, items: Items, rows: Mapping[str, dict[str, Any]] | None) -> None:
        """Account for the leaves of a page's resources; `rows` are the legacy rows by key, None without an answer."""
        if slot not in self._worlds:
            return
        owners, world = self._worlds[slot]
        for written, resource in items:
            row = rows.get(written.key) if rows else None
            compared = row is not None and self.scope.choice.takes(self.entity, written.key)
            whose = Witness(written.key, written.place)
            world.examine(resource, owners.owned(resource, row), whose, compared)

    def finish(self) -> None:
        """Tell what deviates from the others, and how many resources have nothing that they should not have."""
        for slot, (_, world) in self._worlds.items():
            world.finish()
            self.recorder.equal(NOTHING_ELSE, max(world.resources - self.faults[slot], 0))
        self.recorder.expect(NOTHING_ELSE)
