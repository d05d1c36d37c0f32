"""A cutover and a rollback stage by stage, as the DAGs have them: each a process of its own, rerunnable alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from medferry.cutover import stages
from medferry.cutover.acts import Act, Place, all_among
from medferry.cutover.stages import Stage
from medferry.manifest import cutovers
from medferry.manifest.cutovers import AttemptState, Direction
from medferry.runtime.environment import Environment
from medferry.workflows.cutover import Choice, end, switching

_WAYS = {stages.Direction.CUTOVER: Direction.FORTH, stages.Direction.ROLLBACK: Direction.BACK}

_ACTS: Mapping[stages.Direction, Mapping[Stage, tuple[Act, ...]]] = {
    stages.Direction.CUTOVER: {
        Stage.FREEZE: (Act.CLOSE_MEDPLUM, Act.WAIT_OUT, Act.CLOSE_LEGACY),
        Stage.FENCE: (Act.FENCE,),
        Stage.FINAL_CUT: (Act.FINAL_CUT,),
        Stage.VERIFY: (Act.VERIFY,),
        Stage.FEED_START: (Act.REVERSE_START,),
        Stage.FLIP: (Act.SHUT_LEGACY, Act.OPEN_MEDPLUM, Act.ROUTE),
        Stage.OBSERVE: (Act.REVERSE_ON,),
    },
    stages.Direction.ROLLBACK: {
        Stage.FREEZE: (Act.CLOSE_MEDPLUM,),
        Stage.FENCE: (),
        Stage.FINAL_CUT: (Act.WAIT_OUT,),
        Stage.VERIFY: (Act.PROVE,),
        Stage.FEED_START: (),
        Stage.FLIP: (Act.REOPEN_LEGACY, Act.ROUTE),
        Stage.OBSERVE: (),
    },
}


def perform_stage(
    environment: Environment, wave_id: str, direction: stages.Direction, stage: Stage, choice: Choice
) -> list[str]:
    """Do the acts of a stage; what each tells. The first begins the attempt, the last ends it.

    Raises what the acts raise, and then nothing is backed out of: that is `thaw_unflipped`, the teardown.
    """
    told: list[str] = []
    tells = replace(choice, tell=lambda act, text: told.append(f"{act}: {text}"))
    with switching(environment, wave_id, _WAYS[direction], tells) as switch:
        for act in _ACTS[direction][stage]:
            switch.perform(act)
        if stage is Stage.OBSERVE:
            end(switch, AttemptState.DONE)
    return told


def thaw_unflipped(environment: Environment, wave_id: str, direction: stages.Direction, choice: Choice) -> str:
    """Open again what an attempt has closed and not flipped, and end it; what is flipped stays. Raises Stuck's causes.

    To be run whatever became of the stages. A flip that is not complete is left: it is gone on with, or rolled back.
    """
    with environment.manifest.begin() as connection:
        running = cutovers.running_attempts(connection, environment.migration.name)
    if not any(one.wave == wave_id and one.direction is _WAYS[direction] for one in running):
        return "no attempt is under way"
    with switching(environment, wave_id, _WAYS[direction], choice) as switch:
        places = switch.places().values()
        if direction is stages.Direction.CUTOVER:
            if all_among(places, (Place.BETWEEN, Place.MEDPLUM)):
                return "flipped: nothing was thawed"
            switch.perform(Act.THAW)
        elif all_among(places, (Place.BETWEEN, Place.MEDPLUM)):
            switch.perform(Act.OPEN_MEDPLUM)
        else:
            return "moved back: nothing was opened in Medplum"
        end(switch, AttemptState.BACKED_OUT)
        return "not flipped, nothing changed"
