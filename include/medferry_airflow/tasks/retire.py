"""The tasks that take down a wave that is over."""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import task

from medferry_airflow.asked import told_of, when_answered, who_answered
from medferry_airflow.guard import guarded
from medferry_airflow.tasks.environment import environment, evidence_folder

log = logging.getLogger(__name__)


@task
@guarded
def look(wave: str) -> str:
    """Tell what would be removed, for the form of the approval; changes nothing, and fails where it is not over."""
    from medferry.workflows.retire import lines_of, not_over, told

    found, open_ = told(environment(), wave)
    lines = lines_of(found, "would be removed")
    for line in lines:
        log.info("%s", line)
    for reason in open_:
        log.error("Would be refused: %s", reason)
    if open_:
        raise not_over(wave, open_)
    environment().settings.evidence_key  # noqa: B018 -- that there is none is told before anybody is asked
    return "\n".join(f"- {' '.join(line.split())}" for line in lines)


@task
@guarded
def say(wave: str, answer: dict[str, Any]) -> str:
    """Note the first one's word, where the plan asks for two; it has no effect alone. Returns who is awaited."""
    from medferry.workflows.retire import say_to_retire

    systems = environment()  # before who answered: it says who has triggered
    return told_of(say_to_retire(systems, wave, who_answered(answer), when_answered(answer)))


@task
@guarded
def retire(wave: str, answer: dict[str, Any]) -> None:
    """Take the wave down, by who has approved; every condition is looked at again. It may be repeated."""
    from medferry.workflows.retire import lines_of
    from medferry.workflows.retire import retire as retire_now

    systems = environment()  # before who answered: it says who has triggered
    found = retire_now(systems, wave, who_answered(answer), evidence_folder(), when_answered(answer))
    for line in lines_of(found, "removed"):
        log.info("%s", line)
    log.info("Evidence: %s, signed by %s", found.archive, found.signed_by)
