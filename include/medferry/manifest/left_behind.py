"""What a rollback may leave in Medplum: a named person's decision about a write, in exactly the state that was refused.

Nothing is left in silence: what a rollback could not prove is noted by it, and so is what was left behind at last.
"""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from medferry.manifest import decisions
from medferry.manifest.consents import Consent
from medferry.manifest.cutovers import AttemptState, Direction, newest_attempt
from medferry.manifest.decisions import Decision, RecordedDecision, digest_of

UNPROVEN, LEFT_BEHIND = "unproven", "left_behind"
"""In the notes of an attempt to go back: what → the digest of its state. Of the first kind is what kept it back."""


def leave_behind(
    connection: sa.Connection, migration: str, wave: str, what: str, digest: str, person: str, reason: str
) -> None:
    """Record that a person takes a write in Medplum, as it is now, over by hand."""
    decisions.record(connection, _subject(migration, wave, what), digest, Decision(Consent.ACCEPTED, person, reason))


def accepted_of(
    connection: sa.Connection, migration: str, wave: str, unproven: Mapping[str, str]
) -> dict[str, RecordedDecision]:
    """What → the decision, for those that somebody leaves behind in exactly the state that they are in."""
    subjects = {_subject(migration, wave, what): what for what in unproven}
    newest = decisions.newest(connection, subjects)
    return {
        what: newest[name] for name, what in subjects.items() if name in newest and _holds(newest[name], unproven[what])
    }


def unproven_of(connection: sa.Connection, migration: str, wave: str) -> Mapping[str, str]:
    """What the newest rollback of a wave could not prove, if it was kept back by that; else nothing."""
    last = newest_attempt(connection, migration, wave)
    if last is None or last.direction is not Direction.BACK or last.state is AttemptState.DONE:
        return {}
    return dict(last.notes.get(UNPROVEN, {}))


def left_behind_by(connection: sa.Connection, migration: str, wave: str) -> dict[str, RecordedDecision]:
    """What → the decision, for all that a rollback has left in Medplum, until the wave is flipped again."""
    last = newest_attempt(connection, migration, wave, [AttemptState.DONE])
    if last is None or last.direction is not Direction.BACK:
        return {}
    return accepted_of(connection, migration, wave, last.notes.get(LEFT_BEHIND, {}))


def _subject(migration: str, wave: str, what: str) -> str:
    return f"left-behind/{migration}/{wave}/{digest_of(what)}"


def _holds(found: RecordedDecision, digest: str) -> bool:
    return found.digest == digest and found.decision.verdict == Consent.ACCEPTED
