"""A cutover or a rollback stage by stage, as Airflow performs it: each is a process of its own, and may come again.

The gates are looked at first, every time: what is past is not done again, and no stage begins before those that come
first were done in the same attempt. So nothing is flipped that was not frozen, drained and verified, and nothing is
observed, and so ended, that has not moved, whatever was cleared or marked as a success.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from medferry.cutover.acts import FLIP, Act, Place, all_among
from medferry.cutover.gates import Gates
from medferry.cutover.machine import Stuck
from medferry.cutover.stages import STAGES, Stage, missing_before
from medferry.cutover.switch import Switch
from medferry.errors import MedferryError
from medferry.manifest import cutovers
from medferry.manifest.cutovers import AttemptState, Direction
from medferry.runtime.environment import Environment
from medferry.workflows.cutover import Choice, end, switching, units_to_move
from medferry.workflows.sync import checked_wave

_THERE = (Place.BETWEEN, Place.MEDPLUM)
"""All legacy gates are shut."""

_HERE = (Place.LEGACY, Place.FROZEN, Place.BOTH)
"""None is."""


_CLEAR = "Clear the stages from the freeze on, with those downstream."


class OutOfOrder(MedferryError):
    """The stages before one were not all done in this attempt, one after the other."""


class NotMoved(MedferryError):
    """The stages ended and the units are where they were: nothing has changed for the users."""


def perform_stage(environment: Environment, wave_id: str, direction: Direction, stage: Stage, choice: Choice) -> str:
    """Do the acts of a stage; returns what became of it. A freeze that fails is backed out of at once.

    Raises what its acts raise; OutOfOrder, Stuck; as `switching`.
    """
    if _is_past(environment, wave_id, direction, stage):
        return "passed over: the units have moved already"
    with switching(environment, wave_id, direction, replace(choice, by_stages=True)) as switch:
        try:
            for act in _acts(switch, direction, stage):
                switch.perform(act)
        except BaseException:
            if stage is Stage.FREEZE:  # its teardown runs only where it has succeeded
                _back_out(switch, direction)
            raise
        if stage is [*STAGES[direction]][-1]:
            end(switch, AttemptState.DONE)
    return "done"


def back_out(environment: Environment, wave_id: str, direction: Direction, choice: Choice) -> str:
    """Undo what is closed and not flipped; do nothing where all came to its end. Raises Stuck."""
    if not _is_running(environment, wave_id, direction):
        return "nothing to do: no attempt is at work"
    with switching(environment, wave_id, direction, choice, moves=False) as switch:
        return _back_out(switch, direction)


def conclude(environment: Environment, wave_id: str, direction: Direction, choice: Choice) -> str:
    """Undo what is closed and not flipped, and tell whether the units have moved: nothing else may call it done.

    Raises NotMoved, Stuck.
    """
    told = back_out(environment, wave_id, direction, choice)
    if not _is_past(environment, wave_id, direction, [*STAGES[direction]][-1]):
        raise NotMoved(
            f"The units of wave {wave_id} have not moved; {told}.",
            "Remove the cause, which stands in the log of the first task that failed; then clear `look` with all that "
            "is downstream, or trigger anew.",
        )
    return told


def _is_past(environment: Environment, wave_id: str, direction: Direction, stage: Stage) -> bool:
    """Whether a stage that is cleared, or comes twice, has nothing to do any more."""
    wave = checked_wave(environment, wave_id)
    with environment.medplum() as client:
        units = units_to_move(environment, wave, direction)
        places = Gates(environment, client).places(units).values()
    if stage not in (Stage.FLIP, Stage.OBSERVE):
        return all_among(places, _past(direction))
    return all_among(places, _end(direction)) and not _is_running(environment, wave_id, direction)


def _is_running(environment: Environment, wave_id: str, direction: Direction) -> bool:
    with environment.manifest.begin() as connection:
        running = cutovers.running_attempts(connection, environment.migration.name)
    return any(one.wave == wave_id and one.direction is direction for one in running)


def _past(direction: Direction) -> tuple[Place, ...]:
    """Where units are when the flip is done, or begun."""
    return _THERE if direction is Direction.FORTH else _HERE


def _end(direction: Direction) -> tuple[Place, ...]:
    """Where units are when the flip is done."""
    return (Place.MEDPLUM,) if direction is Direction.FORTH else _HERE


def _acts(switch: Switch, direction: Direction, stage: Stage) -> tuple[Act, ...]:
    """What is left to do of a stage. Raises OutOfOrder."""
    acts, places = STAGES[direction][stage].acts, switch.places()
    if stage is Stage.OBSERVE:
        if not all_among(places.values(), _end(direction)):
            raise OutOfOrder(f"The units have not moved ({_told(places)}).", _CLEAR)
        return acts
    if stage is Stage.FLIP and all_among(places.values(), _past(direction)):  # it died in the middle, or comes again
        return tuple(act for act in acts if act in FLIP)
    with switch.environment.manifest.begin() as connection:
        rows = cutovers.acts_of(connection, switch.attempt)
    if missing := missing_before(direction, stage, rows):
        raise OutOfOrder(
            f"The stage {stage} was not begun: {', '.join(missing)} was not done in this attempt, in its order.", _CLEAR
        )
    return acts


def _back_out(switch: Switch, direction: Direction) -> str:
    places = switch.places()
    forth = direction is Direction.FORTH
    if all_among(places.values(), _end(direction)):
        return "nothing to do: the units have moved"
    if forth and Place.MEDPLUM not in places.values() and not all_among(places.values(), _THERE):
        switch.perform(Act.THAW)
    elif not forth and all_among(places.values(), _THERE):
        switch.perform(Act.OPEN_MEDPLUM)
    else:
        raise Stuck(
            f"The flip has begun and is not complete ({_told(places)}).",
            "Clear `flip`: it goes on where it stopped. Or trigger the rollback.",
        )
    end(switch, AttemptState.BACKED_OUT)
    return "backed out: nothing has changed for the users"


def _told(places: Mapping[str, Place]) -> str:
    return ", ".join(f"{unit}: {place}" for unit, place in places.items())
