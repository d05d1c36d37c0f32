"""Which of the words that people have said of an act count now. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from medferry.manifest.decisions import RecordedDecision
from medferry.manifest.spoken import Spoken, Word
from medferry.plan.model import Plan
from medferry.plan.people import Approval, Stakeholder

TWO = 2


def approver(plan: Plan, act: Approval, actor: str) -> Stakeholder | None:
    """The person of the plan who may approve it and whose account `actor` is; a typed name is nobody's proof."""
    return next((person for person in plan.approvers(act) if person.acts_as(actor)), None)


def standing(plan: Plan, act: Approval, digest: str, words: Sequence[Word], now: str) -> list[Word]:
    """The words about exactly this (`digest`) that count at the time `now`: one of each person, the oldest first.

    None counts that is older than the plan's hours, or of somebody who may not approve it by the present plan; nor one
    after which somebody who may has refused.
    """
    since = counts_since(plan, now)
    found: dict[str, Word] = {}
    for word in words:
        person = approver(plan, act, word.actor)
        if person is None or datetime.fromisoformat(word.at) < since:
            continue
        if word.said.verdict == Spoken.REFUSED:
            found.clear()
        elif word.digest == digest:
            found.setdefault(person.name, word)
    return list(found.values())


def counts_since(plan: Plan, now: str) -> datetime:
    """What was said before that counts no more at the time `now` (ISO 8601, UTC)."""
    return datetime.fromisoformat(now) - timedelta(hours=plan.four_eyes.hours if plan.four_eyes else 0)


def made_by_two(plan: Plan, act: Approval, words: Sequence[Word], history: Sequence[RecordedDecision]) -> bool:
    """Whether the newest of the decisions about something is that of two people, by the plan as it is now.

    `words`: all that were said of it. What was said before the decision that came before was said of another state.
    """
    newest, before = history[-1], history[-2].number if len(history) > 1 else 0
    said = [word for word in words if before < word.number < newest.number]
    return bool(said) and len(standing(plan, act, said[-1].digest, said, newest.at)) >= TWO


def people_of(plan: Plan, act: Approval, words: Sequence[Word]) -> str:
    """The names of those who have spoken, by their accounts."""
    names = [person.name for word in words if (person := approver(plan, act, word.actor))]
    return " and ".join(names)
