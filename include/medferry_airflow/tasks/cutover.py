"""The tasks that move a wave's operations, stage by stage."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import task

from medferry_airflow.asked import SOON, SOON_AT_MOST, name_of, told_of, when_answered, who_answered
from medferry_airflow.guard import guarded
from medferry_airflow.tasks.environment import environment

if TYPE_CHECKING:
    from medferry.cutover.acts import Act

log = logging.getLogger(__name__)


@task
@guarded
def look(wave: str, direction: str) -> str:
    """See that every condition holds; returns the evidence, for the form of the approval."""
    from medferry.manifest.cutovers import Direction
    from medferry.workflows.cutover_approval import evidence

    return evidence(environment(), wave, Direction(direction))


@task
@guarded
def arm(wave: str, direction: str, shown: str, answers: list[dict[str, Any]]) -> str:
    """Record who approved, and see that it is not too late and that the conditions still hold.

    `answers`: the last is his; whoever was asked before him has said, too, until when the freeze may begin. Returns who
    has approved or, where the plan asks for another person, a sentence that says so.
    """
    from medferry.manifest.cutovers import Direction
    from medferry.workflows.cutover_approval import arm, require_in_time

    *before, answer = answers
    for one in before:
        require_in_time(name_of(one), when_answered(one), _minutes(one))
    at, minutes = when_answered(answer), _minutes(answer)
    agreement = arm(environment(), wave, Direction(direction), shown, who_answered(answer), at, minutes)
    return told_of(agreement)


def _minutes(answer: Mapping[str, Any]) -> int:
    return int(answer["params_input"]["minutes"])


@task(retry_delay=SOON, max_retry_delay=SOON_AT_MOST)
@guarded
def perform(wave: str, direction: str, stage: str, person: str) -> str:
    """Do one stage of a cutover or a rollback; both gates are looked at first."""
    from medferry.cutover.stages import Stage
    from medferry.manifest.cutovers import Direction
    from medferry.workflows.cutover import Choice
    from medferry.workflows.cutover_stages import perform_stage

    return perform_stage(environment(), wave, Direction(direction), Stage(stage), Choice(person, tell=_tell))


@task(retry_delay=SOON, max_retry_delay=SOON_AT_MOST)
@guarded
def thaw(wave: str, direction: str, person: str) -> str:
    """Open what is closed and was not flipped, however the stages ended; it is red unless the units have moved."""
    from medferry.manifest.cutovers import Direction
    from medferry.workflows.cutover import Choice
    from medferry.workflows.cutover_stages import conclude

    told = conclude(environment(), wave, Direction(direction), Choice(person, tell=_tell))
    log.info("%s", told)
    return told


def _tell(act: Act, text: str) -> None:
    log.info("%s: %s", act, text)
