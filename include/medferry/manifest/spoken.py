"""What each of two people has said of an act that needs both: lines among the decisions, with the account of each.

The account is what the chain of acts has of the line, so that it cannot be typed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from medferry.manifest import audit, decisions
from medferry.manifest.decisions import Decision, RecordedDecision
from medferry.plan.people import Approval

_PREFIX = "four-eyes"


class Spoken(StrEnum):
    """What a person says of an act."""

    WANTED = "wanted"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Matter:
    """An act, and what it is about, as the decisions call it: "cutover/m/pilot", "exception/7".

    `digest`: of the state that it is about, and of the content of the decision. `since`: when that state began, before
    which nobody can have answered about it; empty: unknown.
    """

    migration: str
    act: Approval
    about: str
    digest: str
    since: str = ""

    @property
    def subject(self) -> str:
        return f"{said_below(self.migration)}/{self.act}/{self.about}"


@dataclass(frozen=True, slots=True)
class Word:
    """What somebody said at a time (UTC), by the number of its line; `actor` as the chain of acts has it."""

    number: int
    subject: str
    digest: str
    actor: str
    at: str
    said: Decision

    @property
    def act(self) -> Approval:
        return Approval(self.subject.split("/", 3)[2])

    @property
    def about(self) -> str:
        return self.subject.split("/", 3)[3]


def said_below(migration: str) -> str:
    """What all that was said in a migration is filed under."""
    return f"{_PREFIX}/{migration}"


def speak(connection: sa.Connection, matter: Matter, verdict: Spoken, person: str, note: str) -> None:
    """Append what a person says."""
    decisions.record(connection, matter.subject, matter.digest, Decision(verdict, person[:100], note[:1000]))


def words_of(connection: sa.Connection, migration: str, act: Approval, about: str) -> list[Word]:
    """All that was said of it, in whatever state it was, the oldest first."""
    return _words(connection, decisions.decisions_of(connection, Matter(migration, act, about, "").subject))


def all_words(connection: sa.Connection, migration: str) -> list[Word]:
    """All that was ever said in a migration, the oldest first."""
    return _words(connection, decisions.decisions_below(connection, said_below(migration)))


def _words(connection: sa.Connection, found: list[RecordedDecision]) -> list[Word]:
    actors = audit.actors_of(connection, [one.number for one in found])
    return [
        Word(one.number, one.subject, one.digest, actors.get(one.number, ""), one.at, one.decision) for one in found
    ]
