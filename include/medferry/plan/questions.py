"""Which planning questions are open, each in words of its own: they block a cutover, and hinder no load. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from medferry.plan.model import Plan
from medferry.plan.people import Approval
from medferry.plan.sections import EVERYTHING


class Question(StrEnum):
    """The planning questions, by the names of their sections: six of Medplum's adoption guide, and the way back."""

    TIMELINE = "timeline"
    STAKEHOLDERS = "stakeholders"
    DATA_REQUIRED = "data_required"
    DOWNTIME = "downtime"
    TOOLS = "tools"
    TRAINING = "training"
    ROLLBACK = "rollback"


@dataclass(frozen=True, slots=True)
class Open:
    """A question that the plan does not answer, or not for this wave."""

    question: Question
    problem: str
    remedy: str


def open_questions(plan: Plan, wave: str, entities: Collection[str]) -> list[Open]:
    """What the plan leaves open of a wave, in the order of the questions; `entities` are all of the migration."""
    asked = (
        _timeline(plan, wave),
        *_stakeholders(plan),
        *_data_required(plan, entities),
        _downtime(plan),
        _tools(plan, wave),
        _training(plan, wave),
        _rollback(plan),
    )
    return [found for found in asked if found]


def wave_ids(plan: Plan) -> list[str]:
    """The waves of a plan; the one of all units where it has none."""
    return [wave.id for wave in plan.waves] or [EVERYTHING]


def _timeline(plan: Plan, wave: str) -> Open | None:
    if plan.timeline and plan.timeline.window_of(wave):
        return None
    problem = f"nobody has said when wave {wave} may be flipped"
    return Open(Question.TIMELINE, problem, f"Give timeline.waves.{wave} a window: opens, closes, in timeline.zone.")


def _stakeholders(plan: Plan) -> list[Open]:
    if not plan.stakeholders:
        remedy = "Name people with role, contact and what each approves."
        return [Open(Question.STAKEHOLDERS, "nobody is named who is concerned or decides", remedy)]
    return [
        Open(Question.STAKEHOLDERS, f"nobody may approve a {what}", f"Give somebody `approves: [{what}]`.")
        for what in (Approval.CUTOVER, Approval.ROLLBACK)
        if not plan.approvers(what)
    ]


def _data_required(plan: Plan, entities: Collection[str]) -> list[Open]:
    if plan.data_required is None:
        problem = "nobody has said which data move, how far back, and what is left behind"
        return [Open(Question.DATA_REQUIRED, problem, "Give domains, history, and excluded with reasons.")]
    named = {entity for members in plan.data_required.domains.values() for entity in members}
    if missing := sorted({*entities} - named):
        problem = f"{', '.join(missing)}: in no domain of the data that move"
        return [Open(Question.DATA_REQUIRED, problem, "Name each entity in data_required.domains.")]
    return []


def _downtime(plan: Plan) -> Open | None:
    if plan.downtime:
        return None
    problem = "nobody has said how long a unit may stand still while it is flipped"
    return Open(Question.DOWNTIME, problem, "Give longest_freeze_minutes, and units where it is another.")


def _tools(plan: Plan, wave: str) -> Open | None:
    if any(tool.concerns(wave) for tool in plan.tools):
        return None
    problem = f"nobody has said which tools change with wave {wave}"
    return Open(Question.TOOLS, problem, "Name each with what it becomes: at least the legacy application changes.")


def _training(plan: Plan, wave: str) -> Open | None:
    if any(training.concerns(wave) for training in plan.training):
        return None
    problem = f"nobody has said who of wave {wave} is trained, in what, and by when"
    return Open(Question.TRAINING, problem, "Name who, what, and by which day.")


def _rollback(plan: Plan) -> Open | None:
    if plan.rollback:
        return None
    problem = "nobody has said for how long a flipped unit can go back, and what makes it go back"
    return Open(Question.ROLLBACK, problem, "Give window_days and triggers.")
