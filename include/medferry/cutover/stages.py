"""The stages of a cutover and of a rollback, in their order, each with what it does: the words of pages and logs."""

from __future__ import annotations

from enum import StrEnum


class Direction(StrEnum):
    """Where the operations of a wave's units go."""

    CUTOVER = "cutover"
    """To Medplum."""
    ROLLBACK = "rollback"
    """Back to the legacy system."""


class Stage(StrEnum):
    """What is done one after the other. Each looks at both gates first, and may be repeated alone."""

    FREEZE = "freeze"
    FENCE = "fence"
    FINAL_CUT = "final_cut"
    VERIFY = "verify"
    FEED_START = "feed_start"
    FLIP = "flip"
    OBSERVE = "observe"


BEFORE_THE_FLIP = (Stage.FREEZE, Stage.FENCE, Stage.FINAL_CUT, Stage.VERIFY, Stage.FEED_START)
"""In order. What fails here is thawed: nothing has changed for the users."""

PAGES: dict[Direction, dict[Stage, str]] = {
    Direction.CUTOVER: {
        Stage.FREEZE: "Close the units in the legacy database: writers in flight are waited for, later ones are "
        "refused. It thaws by itself when its time is over. Proven by a write that must fail.",
        Stage.FENCE: "Send a row the whole way to Medplum: when it arrives, everything before it has.",
        Stage.FINAL_CUT: "Take the last cut of the journal and bring its records to Medplum.",
        Stage.VERIFY: "Read both systems again, where anything has changed since the last verification.",
        Stage.FEED_START: "Record from where the way back begins, before anybody can write in Medplum.",
        Stage.FLIP: "Shut the legacy gate for good, open Medplum's, publish the routing: the units' users work in "
        "Medplum from here on.",
        Stage.OBSERVE: "Bring what users write in Medplum back to the legacy database, so that a rollback stays safe.",
    },
    Direction.ROLLBACK: {
        Stage.FREEZE: "Close the units in Medplum by their users' policies, and wait for the requests in flight. "
        "Proven by a user who must be refused.",
        Stage.FENCE: "Write a resource and wait until the way back has seen it: everything before it has arrived.",
        Stage.FINAL_CUT: "Write the last changes of Medplum's users into the legacy database.",
        Stage.VERIFY: "Prove that every write since the flip is in the legacy database.",
        Stage.FEED_START: "Record from where the way forth begins, before anybody can write in the legacy system.",
        Stage.FLIP: "Open the legacy gate, publish the routing: the units' users work in the legacy system again.",
        Stage.OBSERVE: "Keep Medplum in step again. The next cutover needs no new load.",
    },
}
"""What each stage does, for who has the task's page before him."""
