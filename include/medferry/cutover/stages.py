"""The stages in which Airflow shows a cutover and a rollback: which acts each consists of, and what must come first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from medferry.cutover.acts import OBSERVE, Act
from medferry.manifest.cutovers import ActRow, Direction


class Stage(StrEnum):
    """What is done one after the other, each to be repeated alone."""

    FREEZE = "freeze"
    FENCE = "fence"
    FINAL_CUT = "final_cut"
    VERIFY = "verify"
    REVERSE_START = "reverse_start"
    FLIP = "flip"
    OBSERVE = "observe"


@dataclass(frozen=True, slots=True)
class StageOf:
    """A stage of one direction: its acts, and its page for who has it before him."""

    acts: tuple[Act, ...]
    page: str


STAGES: Mapping[Direction, Mapping[Stage, StageOf]] = {
    Direction.FORTH: {
        Stage.FREEZE: StageOf(
            (Act.CLOSE_MEDPLUM, Act.WAIT_OUT, Act.CLOSE_LEGACY),
            "Verify the wave while its users are at work. Then close the units in the legacy database: writers in "
            "flight are waited for, later ones refused. It opens by itself when its time is over.",
        ),
        Stage.FENCE: StageOf((Act.FENCE,), "Write a fence behind all that was committed."),
        Stage.FINAL_CUT: StageOf(
            (Act.FINAL_CUT,), "Take cuts until the fence has arrived: everything before it is in Medplum then."
        ),
        Stage.VERIFY: StageOf((Act.VERIFY,), "Read in both systems what has changed since the wave was verified."),
        Stage.REVERSE_START: StageOf(
            (Act.REVERSE_START,), "Note from where users' writes in Medplum are read, before there can be any."
        ),
        Stage.FLIP: StageOf(
            (Act.SHUT_LEGACY, Act.OPEN_MEDPLUM, Act.ROUTE),
            "Shut the legacy gates for good, open Medplum's, publish the routing: users work in Medplum from here on.",
        ),
        Stage.OBSERVE: StageOf(
            (Act.REVERSE_ON, *OBSERVE),
            "See that what users write in Medplum comes into the legacy database, for the way back; that no allergy, "
            "medication or problem is lost, altered or back; and that both systems answer the same questions alike.",
        ),
    },
    Direction.BACK: {
        Stage.FREEZE: StageOf(
            (Act.CLOSE_MEDPLUM,), "Close the units in Medplum by their users' policies; a probe must be refused."
        ),
        Stage.FINAL_CUT: StageOf(
            (Act.WAIT_OUT,), "Wait for the requests in flight, and write what they changed into the legacy database."
        ),
        Stage.VERIFY: StageOf(
            (Act.PROVE,), "Prove that every write in Medplum since the flip is in the legacy database."
        ),
        Stage.FLIP: StageOf(
            (Act.REOPEN_LEGACY, Act.ROUTE),
            "Open the legacy gates, publish the routing: users work in the legacy system again.",
        ),
    },
}
"""In order. What fails before the flip is backed out of: nothing has changed for the users."""


def acts_before(direction: Direction, stage: Stage) -> list[Act]:
    """The acts that must have been done, in this order, before a stage may begin."""
    stages = STAGES[direction]
    return [act for each in [*stages][: [*stages].index(stage)] for act in stages[each].acts]


def missing_before(direction: Direction, stage: Stage, acts: Iterable[ActRow]) -> list[Act]:
    """What an attempt lacks for a stage. `acts`: all of its own, in the order in which they were begun.

    An act counts after those before it; one that is repeated, fails or dies takes away what came after it.
    """
    needed = acts_before(direction, stage)
    done = 0
    for row in acts:
        if row.act == Act.THAW:
            done = 0
        elif row.act in needed and (place := needed.index(Act(row.act))) <= done:
            succeeded = row.ended_at is not None and not row.failed
            done = place + 1 if succeeded else place
    return needed[done:]
