"""Both gates of the units of a wave: what they say, which is the truth about where a unit is written."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

from medferry.cutover.acts import Place, place_of
from medferry.cutover.medplum_gate import MedplumGate
from medferry.definition.migration import Migration
from medferry.errors import MedferryError
from medferry.medplum.client import MedplumClient
from medferry.plan.authority import Writer
from medferry.plan.model import Plan
from medferry.runtime.environment import Environment
from medferry.runtime.legacy_gate import legacy_gate
from medferry.source.changes.cuts import writing
from medferry.source.gate.gate import Gate, GateState, UnitGate


class FreezeOver(MedferryError):
    """The time of the freeze was over before all was done: the legacy database is written again."""


@dataclass(frozen=True)
class Gates:
    """Of the units of an environment. `client` is Medferry's own."""

    environment: Environment
    client: MedplumClient

    @cached_property
    def legacy(self) -> Gate:
        return legacy_gate(self.environment)

    @cached_property
    def medplum(self) -> MedplumGate:
        return MedplumGate(self.environment, self.client)

    def check(self) -> None:
        """Raises GateBroken where a write may go by the legacy gates."""
        with writing(self.environment.capture, self.legacy) as connection:
            self.legacy.check(connection)

    def legacy_of(self, units: Collection[str]) -> dict[str, UnitGate]:
        """As the legacy clock sees them. Raises GateBroken for a unit without one."""
        with writing(self.environment.capture, self.legacy) as connection:
            return {unit: self.legacy.read(connection, unit) for unit in units}

    def places(self, units: Collection[str]) -> dict[str, Place]:
        """Where each unit can be written."""
        return {unit: place_of(gate, self.medplum.read(unit)) for unit, gate in self.legacy_of(units).items()}

    def still_frozen(self, units: Sequence[str]) -> float:
        """The seconds left. Raises FreezeOver."""
        found = self.legacy_of(units)
        over = [unit for unit, gate in found.items() if gate.state is not GateState.CLOSED]
        if over:
            raise FreezeOver(
                f"The freeze of {over[0]} is over: its gate is {found[over[0]].state}.",
                "Nothing was flipped. Find out what took so long; the next attempt needs no reload.",
            )
        return min(gate.seconds_left or 0.0 for gate in found.values())


def has_two_writers(plan: Plan, unit: str) -> bool:
    """Whether users may write some of a unit's domains in Medplum before it is moved."""
    return any(
        rule.writer is not Writer.LEGACY and (not rule.units or unit in rule.units) for rule in plan.authority.rules
    )


def may_be_closed(migration: Migration, unit: str) -> bool:
    """Whether users of a unit could write in Medplum, and the plan lets none of them before it is moved."""
    rules = migration.gate.medplum if migration.gate else None
    return bool(rules and rules.of_unit(unit)) and not has_two_writers(migration.plan, unit)
