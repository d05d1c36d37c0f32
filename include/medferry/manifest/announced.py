"""What was announced to whom: noted before it is sent, so that nobody is told twice. Lines among the decisions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from medferry.manifest import decisions
from medferry.manifest.decisions import Decision, digest_of


class Sending(StrEnum):
    """How far a message has got."""

    BEGUN = "begun"
    """It may have been sent: whoever sent it did not come back."""
    SENT = "sent"
    NOT_SENT = "not_sent"
    """It certainly was not; it may be tried again."""


@dataclass(frozen=True, slots=True)
class Occasion:
    """An event of a wave, once: `number` tells the next attempt, or another window, from this one."""

    migration: str
    wave: str
    event: str
    number: str

    def subject(self, contact: str) -> str:
        """Of one stakeholder, without his address."""
        return f"announced/{self.migration}/{self.wave}/{self.event}/{digest_of(self.number, contact)[:32]}"


def note_sending(connection: sa.Connection, occasion: Occasion, contact: str, state: Sending) -> None:
    decisions.record(connection, occasion.subject(contact), "", Decision(state, ""))


def sending_of(connection: sa.Connection, occasion: Occasion, contact: str) -> Sending | None:
    """None: nobody has begun to."""
    subject = occasion.subject(contact)
    last = decisions.newest(connection, [subject]).get(subject)
    return Sending(last.decision.verdict) if last else None
