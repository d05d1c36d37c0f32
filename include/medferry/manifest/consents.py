"""What a named person accepts of a wave's readiness: a decision about exactly what the gate is about now."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from medferry.manifest import decisions
from medferry.manifest.decisions import Decision, RecordedDecision


class Consent(StrEnum):
    """Of a gate, by a person."""

    ACCEPTED = "accepted"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Subject:
    """A gate of a wave, and the digest of what it is about now."""

    migration: str
    wave: str
    gate: str
    digest: str

    @property
    def name(self) -> str:
        return f"readiness/{self.migration}/{self.wave}/{self.gate}"


def record_consent(connection: sa.Connection, subject: Subject, consent: Consent, person: str, reason: str) -> None:
    """Append what a person says of a gate as it is now."""
    decisions.record(connection, subject.name, subject.digest, Decision(consent, person, reason))


def consent_to(connection: sa.Connection, subject: Subject) -> RecordedDecision | None:
    """The newest decision, if it accepts exactly this; None: nobody has."""
    last = decisions.newest(connection, [subject.name]).get(subject.name)
    holds = last is not None and last.digest == subject.digest and last.decision.verdict == Consent.ACCEPTED
    return last if holds else None


def was_ever_accepted(connection: sa.Connection, subject: Subject) -> bool:
    """Whether anybody has accepted it, as it was at whatever time."""
    return any(one.decision.verdict == Consent.ACCEPTED for one in decisions.decisions_of(connection, subject.name))
