"""What must hold before a freeze begins: every gate of readiness, asked once, and never within a freeze."""

from __future__ import annotations

from collections.abc import Sequence

from medferry.cutover.acts import Place, all_among
from medferry.cutover.gates import Gates
from medferry.cutover.switch import UNTIL
from medferry.errors import MedferryError
from medferry.governance.readiness import ReadinessGate
from medferry.manifest import cutovers
from medferry.manifest.clock import read_clock
from medferry.manifest.cutovers import Direction
from medferry.runtime.environment import Environment
from medferry.workflows.readiness import readiness


class NotReady(MedferryError):
    """A condition of a cutover does not hold. Nothing was closed."""


def check_ready(environment: Environment, wave_id: str, by_stages: bool = False) -> list[ReadinessGate]:
    """Every condition of a cutover, all of which hold. Raises NotReady, which names those that do not; NoSuchWave."""
    found = readiness(environment, wave_id, by_stages)
    if left := [gate for gate in found if not gate.ok]:
        told = "; ".join(f"{gate.name}: {gate.evidence}" for gate in left)
        raise NotReady(
            f"Of {len(found)} conditions {len(left)} do not hold: {told}.",
            f"Nothing was closed. `medferry readiness {wave_id}` tells what to do about each.",
        )
    return found


def would_move(gates: Gates, wave_id: str, units: Sequence[str], direction: Direction) -> bool:
    """Whether this is to be asked for: a cutover that would begin a freeze, a rollback that would begin to take back.

    What was begun goes on, and what is closed and not flipped is opened, without a question. A rollback is begun when a
    unit is closed in Medplum: one that died before has done nothing, and who comes weeks later is asked anew.
    """
    if direction is not Direction.BACK:
        return direction is Direction.FORTH and would_freeze(gates, wave_id, units)
    with gates.environment.manifest.begin() as connection:
        running = cutovers.running_attempts(connection, gates.environment.migration.name)
    begun = any(one.wave == wave_id and one.direction is direction for one in running)
    places = {*gates.places(units).values()}
    return places == {Place.MEDPLUM} if begun else Place.MEDPLUM in places


def would_freeze(gates: Gates, wave_id: str, units: Sequence[str]) -> bool:
    """Whether a cutover now would begin a freeze: not where its own has begun and runs, nor to flip, nor to back out.

    A gate that was closed by hand (`medferry gate close`) is no freeze of a cutover: nobody has asked before it. Nor is
    it that of an attempt which has died, and whose freeze is over.
    """
    places = gates.places(units)
    if not all_among(places.values(), (Place.LEGACY, Place.FROZEN, Place.BOTH)):
        return False
    environment = gates.environment
    with environment.manifest.begin() as connection:
        running, now = cutovers.running_attempts(connection, environment.migration.name), read_clock(connection)
    begun = {
        unit
        for one in running
        if one.wave == wave_id and one.direction is Direction.FORTH
        for unit, until in one.notes.get(UNTIL, {}).items()
        if until > now
    }
    return not any(place is Place.FROZEN and unit in begun for unit, place in places.items())
