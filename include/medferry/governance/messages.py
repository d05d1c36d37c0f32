"""What stakeholders are told of a wave's cutover: a template for each event. Pure; no patient data is in a plan."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from string import Template

from medferry.plan.model import Plan
from medferry.plan.people import Stakeholder


class Event(StrEnum):
    """What stakeholders are told of."""

    SCHEDULED = "scheduled"
    FROZEN = "frozen"
    FLIPPED = "flipped"
    ROLLED_BACK = "rolled_back"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Message:
    """For one stakeholder."""

    to: Stakeholder
    subject: str
    text: str


_SUBJECTS = {
    Event.SCHEDULED: "$title: $units move to Medplum on $day",
    Event.FROZEN: "$title: $units cannot be written for some minutes",
    Event.FLIPPED: "$title: $units work in Medplum now",
    Event.ROLLED_BACK: "$title: $units work in the legacy system again",
    Event.DONE: "$title: the move of $units is done",
}

_TEXTS = {
    Event.SCHEDULED: "$units move to Medplum between $opens and $closes ($zone). For some of these minutes, at most "
    "$freeze, nothing can be written there; the legacy system and Medplum can be read all the time.",
    Event.FROZEN: "$units are being moved. Until you hear from us again, nothing can be written there, for $freeze at "
    "most; then work goes on, in Medplum, or in the legacy system if the move was given up.",
    Event.FLIPPED: "$units work in Medplum from now on; the legacy system takes no more writes of them. For "
    "$window days they can go back, with all that is written in Medplum until then.",
    Event.ROLLED_BACK: "$units work in the legacy system again, and Medplum takes no more writes of them. What was "
    "written in Medplum meanwhile is in the legacy system.",
    Event.DONE: "The move of $units to Medplum is over: they do not go back to the legacy system any more.",
}
_OPEN = "(not said)"
"""What the plan leaves open."""


def messages(plan: Plan, wave: str, event: Event) -> list[Message]:
    """One for each stakeholder, in the plan's order. `wave` is one of the plan's, or the one of all units."""
    words = _words(plan, wave)
    subject, text = (Template(each[event]).substitute(words) for each in (_SUBJECTS, _TEXTS))
    body = Template("Dear $name,\n\n$text\n\nThis is told to you as: $role.\n")
    return [
        Message(person, " ".join(subject.split()), body.substitute(name=person.name, text=text, role=person.role))
        for person in plan.stakeholders
    ]


def occasion_of_schedule(plan: Plan, wave: str) -> str:
    """What makes an announced window another one: when it opens and closes; empty: the plan has none."""
    window = plan.timeline.window_of(wave) if plan.timeline else None
    return "/".join(time.isoformat() for time in window) if window else ""


def _words(plan: Plan, wave: str) -> dict[str, str]:
    units = plan.wave(wave).units if plan.waves else plan.unit_ids
    titles = {unit.id: unit.title or unit.id for unit in plan.units}
    window = plan.timeline.waves.get(wave) if plan.timeline else None
    minutes = plan.downtime.seconds_of(units) / 60 if plan.downtime else None
    return {
        "title": plan.title,
        "units": " and ".join(filter(None, (", ".join(titles[unit] for unit in units[:-1]), titles[units[-1]]))),
        "day": f"{window.opens:%Y-%m-%d}" if window else _OPEN,
        "opens": f"{window.opens:%Y-%m-%d %H:%M}" if window else _OPEN,
        "closes": f"{window.closes:%Y-%m-%d %H:%M}" if window else _OPEN,
        "zone": plan.timeline.zone if plan.timeline else _OPEN,
        "freeze": f"{minutes:g} minutes" if minutes is not None else _OPEN,
        "window": str(plan.rollback.window_days) if plan.rollback else _OPEN,
    }
