"""Two people for an act, where the plan asks for them: the first one's word has no effect until another says the same.

Asked here, whichever door the act came through. Who speaks is whose account it is (the actor of the chain of acts).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from medferry.errors import MedferryError
from medferry.governance.four_eyes import TWO, approver, counts_since, made_by_two, people_of, standing
from medferry.manifest import audit, spoken
from medferry.manifest.clock import read_clock
from medferry.manifest.decisions import decisions_of
from medferry.manifest.spoken import Matter, Spoken, Word
from medferry.plan.model import Plan
from medferry.plan.people import Approval, Stakeholder
from medferry.runtime.environment import Environment


class WaitingForSecond(MedferryError):
    """One of the two people has spoken, and nothing was done."""


class SamePerson(MedferryError):
    """The same person has spoken twice: that is one person's word."""


class NotAnApprover(MedferryError):
    """Whose account this is may not approve it by the plan, or has given another's name."""


class AnswerIsOver(MedferryError):
    """What somebody has answered in Airflow before counts no more, and clearing the task does not say it anew."""


class NotAgreed(MedferryError):
    """The plan asks for two people, and two have not said it. Nothing was done."""


class NothingWaits(MedferryError):
    """There is no word of that number that counts."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far an act is agreed upon: by whom, in words, and whether those are enough."""

    matter: Matter
    person: str
    agreed: bool
    awaited: str = ""
    """The names of those of whom one may be the second."""

    def require(self) -> str:
        """The people. Raises WaitingForSecond."""
        if not self.agreed:
            raise WaitingForSecond(
                self.told,
                "Let one of them say the same by an account of his own: `medferry four-eyes list` has what waits.",
            )
        return self.person

    @property
    def told(self) -> str:
        """That it waits, and for whom."""
        return (
            f"The plan asks for two people to approve {self.matter.act} ({self.matter.about}), and "
            f"{self.person} is the first: nothing was done. Awaited: {self.awaited}."
        )


def say(
    connection: sa.Connection, plan: Plan, matter: Matter, person: str, note: str = "", answered: datetime | None = None
) -> Agreement:
    """Say it as who acts here, in the transaction of the act; then look at `agreed`, and `require` it when committed.

    Where the plan does not ask for two: `person`, who has said it alone. What two have said needs no third. `answered`:
    when he did, where a task says it for him, which anybody may clear. Raises SamePerson, NotAnApprover, AnswerIsOver;
    then nothing is noted.
    """
    if not plan.needs_two(matter.act):
        return Agreement(matter, person, agreed=True)
    audit.lock(connection)  # two who speak at once are a first and a second
    said, awaited = _standing(connection, plan, matter), ""
    if len(said) < TWO:
        speaker = _speaker(plan, matter.act, person)
        if any(speaker.acts_as(word.actor) for word in said):
            raise SamePerson(
                f"{speaker.name} has said it already, as {said[0].actor} at {said[0].at}: that is one person.",
                f"Ask {_others(plan, matter.act, speaker)}.",
            )
        if answered is not None:
            note = f"{_fresh(connection, plan, matter, speaker, answered)} {note}".strip()
        spoken.speak(connection, matter, Spoken.WANTED, speaker.name, note)
        said = _standing(connection, plan, matter)
        awaited = _others(plan, matter.act, speaker)
    return Agreement(matter, people_of(plan, matter.act, said)[:100], len(said) >= TWO, awaited)


def require_agreed(connection: sa.Connection, plan: Plan, matter: Matter) -> None:
    """To be asked by whoever acts on what others have said. Raises NotAgreed."""
    if plan.needs_two(matter.act) and len(said := _standing(connection, plan, matter)) < TWO:
        raise NotAgreed(
            f"The plan asks for two people to approve {matter.act} ({matter.about}), and "
            f"{people_of(plan, matter.act, said) or 'nobody'} has, as it is now. Nothing was done.",
            "Let both say it anew, within the plan's hours: four_eyes.",
        )


def was_made_by_two(connection: sa.Connection, plan: Plan, act: Approval, about: str) -> bool:
    """Whether the newest decision about something counts by the present plan, which may ask for two since."""
    if not plan.needs_two(act):
        return True
    words = spoken.words_of(connection, plan.name, act, about)
    return made_by_two(plan, act, words, decisions_of(connection, about))


def waiting(environment: Environment) -> list[Word]:
    """The words that count now and wait for a second, the oldest first."""
    plan = environment.migration.plan
    with environment.manifest.begin() as connection:
        words, now = spoken.all_words(connection, environment.migration.name), read_clock(connection)
    alike = {(word.subject, word.digest) for word in words}
    found = []
    for subject, digest in alike:
        of = [word for word in words if word.subject == subject]
        said = standing(plan, of[0].act, digest, of, now) if plan.needs_two(of[0].act) else []
        found += said if len(said) < TWO else []
    return sorted(found, key=lambda word: word.number)


def refuse(environment: Environment, number: int, person: str, reason: str) -> Word:
    """Say no to what somebody has said: it counts no more; returns it. Raises NothingWaits, NotAnApprover."""
    found = next((word for word in waiting(environment) if word.number == number), None)
    if found is None:
        raise NothingWaits(f"Nothing waits for a second person under {number}.", "See `medferry four-eyes list`.")
    plan = environment.migration.plan
    matter = Matter(environment.migration.name, found.act, found.about, found.digest)
    speaker = _speaker(plan, found.act, person)
    with environment.decisions.begin() as connection:
        spoken.speak(connection, matter, Spoken.REFUSED, speaker.name, reason)
    return found


def _standing(connection: sa.Connection, plan: Plan, matter: Matter) -> list[Word]:
    words = spoken.words_of(connection, matter.migration, matter.act, matter.about)
    return standing(plan, matter.act, matter.digest, words, read_clock(connection))


def _fresh(connection: sa.Connection, plan: Plan, matter: Matter, speaker: Stakeholder, answered: datetime) -> str:
    """An answer says one word, of the state in which it was given: by what it is known. Raises AnswerIsOver."""
    at = answered.astimezone(UTC)
    mark = f"[{at:%Y-%m-%dT%H:%M:%S.%f}Z]"
    words = spoken.words_of(connection, matter.migration, matter.act, matter.about)
    refused = [one.at for one in words if one.said.verdict == Spoken.REFUSED and approver(plan, matter.act, one.actor)]
    begins = [datetime.fromisoformat(one) for one in (*refused, matter.since) if one]
    begins.append(counts_since(plan, read_clock(connection)))
    said = any(speaker.acts_as(one.actor) and one.said.note.startswith(mark) for one in words)
    if said or at < max(begins):
        raise AnswerIsOver(
            f"What {speaker.name} answered at {at:%Y-%m-%d %H:%M} UTC about {matter.about} counts no more.",
            "Let people be asked anew: trigger the DAG again, or clear the question itself.",
        )
    return mark


def _speaker(plan: Plan, act: Approval, typed: str) -> Stakeholder:
    """Whose account acts here. Raises NotAnApprover."""
    actor = audit.actor()
    found = approver(plan, act, actor)
    if found is None:
        raise NotAnApprover(
            f"The account {actor} is of nobody whom the plan lets approve {act}.",
            f"These may, each by his own: {_others(plan, act, None)} (stakeholders: airflow_user, os_user).",
        )
    if typed.strip() not in ("", found.name, *_logins([found])):
        raise NotAnApprover(
            f"The account {actor} is {found.name}'s, and another name was given.",
            "Leave the name out, or let that person say it by an account of his own.",
        )
    return found


def _logins(people: Collection[Stakeholder]) -> list[str]:
    return [account.partition(":")[2] for person in people for account in sorted(person.accounts)]


def _others(plan: Plan, act: Approval, but: Stakeholder | None) -> str:
    return ", ".join(person.name for person in plan.approvers(act) if person != but and person.accounts)
