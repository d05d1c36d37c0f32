"""How the newest attempts to move a wave went, act by act, and for how long nobody could write its units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from medferry.cutover.acts import Act
from medferry.cutover.stages import STAGES
from medferry.definition.migration import Migration
from medferry.manifest import cutovers
from medferry.manifest.clock import read_clock, seconds_between
from medferry.manifest.cutovers import ActRow, Attempt, Direction
from medferry.plan.questions import wave_ids

ATTEMPTS = 3
"""Of a wave that are shown, the newest first."""

_ENDS_FREEZE = {
    Direction.FORTH: (Act.CLOSE_LEGACY, (Act.OPEN_MEDPLUM, Act.THAW)),
    Direction.BACK: (Act.CLOSE_MEDPLUM, (Act.REOPEN_LEGACY, Act.OPEN_MEDPLUM)),
}
"""With which act nobody can write any more, and with the end of which somebody can again."""


@dataclass(frozen=True, slots=True)
class TimelineAct:
    """An act: `after` and `seconds` since the attempt began; without an end it is at work, or its process died."""

    stage: str
    act: str
    person: str
    after: float
    seconds: float
    ended: bool
    failed: bool
    told: str


@dataclass(frozen=True, slots=True)
class CutoverTimeline:
    """An attempt. `freeze`: seconds in which nobody could write the units; None: they could all the time."""

    wave: str
    direction: str
    state: str
    person: str
    begun_at: str
    seconds: float
    freeze: float | None
    frozen_still: bool
    acts: list[TimelineAct]

    def share(self, seconds: float) -> float:
        """Of the whole attempt, in per cent."""
        return 100 * seconds / max(self.seconds, 0.001)


def timelines(connection: sa.Connection, migration: Migration, units: Sequence[str]) -> list[CutoverTimeline]:
    """Of the waves that have a unit of their own among `units`."""
    plan = migration.plan
    own = {wave.id: wave.units for wave in plan.waves}
    waves = [name for name in wave_ids(plan) if not plan.waves or {*own[name]} & {*units}]
    present = read_clock(connection)
    return [
        _timeline(attempt, cutovers.acts_of(connection, attempt), present)
        for wave in waves
        for attempt in cutovers.newest_attempts(connection, migration.name, wave, ATTEMPTS)
    ]


def _timeline(attempt: Attempt, acts: Sequence[ActRow], present: str) -> CutoverTimeline:
    end = max([attempt.ended_at or "", *(act.ended_at or present for act in acts)]) or present
    freeze, still = frozen(attempt.direction, acts, present)
    return CutoverTimeline(
        attempt.wave,
        attempt.direction.value,
        attempt.state.value,
        attempt.person,
        attempt.begun_at,
        seconds_between(attempt.begun_at, end),
        freeze,
        still,
        [_act(attempt, act, present) for act in acts],
    )


def _act(attempt: Attempt, row: ActRow, present: str) -> TimelineAct:
    stages = STAGES.get(attempt.direction, {})
    stage = next((stage.value for stage, of in stages.items() if row.act in of.acts), "")
    return TimelineAct(
        stage.replace("_", " "),
        row.act,
        row.person,
        seconds_between(attempt.begun_at, row.begun_at),
        seconds_between(row.begun_at, row.ended_at or present),
        row.ended_at is not None,
        row.failed,
        row.told,
    )


def frozen(direction: Direction, acts: Sequence[ActRow], present: str) -> tuple[float | None, bool]:
    """Seconds in which nobody could write, over all tries of an attempt, and whether it is so still.

    A freeze that opened by its own time ends here with the act that found it so.
    """
    if direction not in _ENDS_FREEZE:
        return None, False
    begins, ends = _ENDS_FREEZE[direction]
    total, since = None, ""
    for row in acts:
        if row.act == begins and not since:
            since = row.begun_at
        elif since and row.act in ends and row.ended_at and not row.failed:
            total, since = (total or 0.0) + seconds_between(since, row.ended_at), ""
    if since:
        total = (total or 0.0) + seconds_between(since, present)
    return total, bool(since)
