"""What two people say of a wave's cutover, rollback or retirement: about the wave as it is since it has moved last."""

from __future__ import annotations

from datetime import datetime

from medferry.manifest.cutovers import AttemptState, Direction, newest_attempt
from medferry.manifest.decisions import digest_of
from medferry.manifest.spoken import Matter
from medferry.plan.people import Approval
from medferry.runtime.environment import Environment
from medferry.workflows.four_eyes import Agreement, require_agreed, say

APPROVALS = {Direction.FORTH: Approval.CUTOVER, Direction.BACK: Approval.ROLLBACK}


def agree_to_move(environment: Environment, wave_id: str, direction: Direction, speaker: str | None) -> None:
    """See that as many as the plan asks for have said it. None: who acts has said nothing, others have.

    Raises WaitingForSecond, SamePerson, NotAnApprover; NotAgreed.
    """
    if speaker is not None:
        say_of_wave(environment, wave_id, APPROVALS[direction], speaker).require()
        return
    matter = _matter(environment, wave_id, APPROVALS[direction])
    with environment.manifest.begin() as connection:
        require_agreed(connection, environment.migration.plan, matter)


def say_of_wave(
    environment: Environment, wave_id: str, act: Approval, person: str, note: str = "", answered: datetime | None = None
) -> Agreement:
    """Say that a wave is to be moved or taken down. Raises SamePerson, NotAnApprover, AnswerIsOver."""
    matter = _matter(environment, wave_id, act)
    with environment.decisions.begin() as connection:
        return say(connection, environment.migration.plan, matter, person, note, answered)


def _matter(environment: Environment, wave_id: str, act: Approval) -> Matter:
    """What is said holds for these units and files, and until the wave has moved."""
    migration = environment.migration
    units = migration.plan.units_of_wave(wave_id) if migration.plan.waves else migration.plan.unit_ids
    with environment.manifest.begin() as connection:
        moved = newest_attempt(connection, migration.name, wave_id, [AttemptState.DONE])
    digest = digest_of(moved.id if moved else "", migration.fingerprint, *units)
    return Matter(migration.name, act, f"{act}/{wave_id}", digest, (moved.ended_at or "") if moved else "")
