"""What people decide about a run's verification and its charts; the run's status follows from it."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import sqlalchemy as sa

from medferry.errors import MedferryError
from medferry.governance.register import NEVER
from medferry.manifest import runs
from medferry.manifest.charts import ReviewOutcome, record_review
from medferry.manifest.checks import checks_of
from medferry.manifest.decisions import Decision, digest_of
from medferry.manifest.exceptions import (
    ExceptionRow,
    ExceptionState,
    about_exception,
    decisions_about,
    get_exception,
    record_decision,
)
from medferry.manifest.spoken import Matter
from medferry.plan.people import Approval
from medferry.runtime.environment import Environment
from medferry.workflows.finish import settle
from medferry.workflows.four_eyes import Agreement, say


class NotDecidable(MedferryError):
    """The decision is not possible as it was given."""


def decide(
    environment: Environment,
    exception_id: int,
    decision: str | None = None,
    approver: str = "",
    owner: str | None = None,
    action: str | None = None,
    due: str | None = None,
) -> ExceptionRow:
    """Record a decision and return the exception with it; what is not given stays as it was.

    A run that has finished becomes succeeded when it passes by this, and failed when it passes no more.
    Raises UnknownException, NotDecidable; WaitingForSecond where the plan asks for two and this was the first's word.
    """
    with environment.decisions.begin() as connection:
        row = get_exception(connection, exception_id)
        wanted = Decision(
            verdict=decision or row.decision,
            person=approver.strip() or (row.approver if decision is None else ""),
            note=row.action if action is None else action.strip(),
            owner=row.owner if owner is None else owner.strip(),
            due=row.due if due is None else due.strip(),
        )
        _check(connection, row, wanted)
        agreement = _agreed(connection, environment, row, wanted, approver)
        if agreement.agreed:
            record_decision(connection, row, replace(wanted, person=agreement.person))
            if row.run_id is not None:
                settle(connection, row.run_id)
    agreement.require()
    with environment.decisions.begin() as connection:
        return get_exception(connection, exception_id)


def _agreed(
    connection: sa.Connection, environment: Environment, row: ExceptionRow, wanted: Decision, typed: str
) -> Agreement:
    """To open it again needs one; to accept it, or to change what it is accepted with, as many as the plan says."""
    state = (row.digest, len(decisions_about(connection, row.id)), wanted.note, wanted.owner, wanted.due)
    plan, about = environment.migration.plan, about_exception(row.id)
    matter = Matter(environment.migration.name, Approval.EXCEPTION, about, digest_of(*state))
    if wanted.verdict != ExceptionState.ACCEPTED:
        return Agreement(matter, wanted.person, agreed=True)
    told = "; ".join(part for part in (wanted.note, wanted.owner, wanted.due) if part)
    person = typed if plan.needs_two(matter.act) else wanted.person
    return say(connection, plan, matter, person, told)


def review(
    environment: Environment, run_id: str, key: str, reviewer: str, outcome: ReviewOutcome, finding: str
) -> None:
    """Record the review of a chart. Raises UnknownRun, UnknownChart, NotDecidable."""
    if not reviewer.strip() or (outcome == ReviewOutcome.DIFFERS and not finding.strip()):
        raise NotDecidable(
            "A review needs a reviewer, and one that differs a finding.", "Give them, without patient data."
        )
    with environment.decisions.begin() as connection:
        runs.get_run(connection, run_id)
        record_review(connection, run_id, key, reviewer.strip(), outcome, finding.strip()[:1000])
        settle(connection, run_id)


def _check(connection: sa.Connection, row: ExceptionRow, wanted: Decision) -> None:
    problem = remedy = ""
    if row.decision == ExceptionState.FIXED:
        problem, remedy = f"Exception {row.id} is fixed: the newest verification did not find it.", "Nothing to do."
    elif wanted.verdict not in (ExceptionState.OPEN, ExceptionState.ACCEPTED):
        problem, remedy = (
            f"{wanted.verdict!r} is no decision.",
            "Give open or accepted.",
        )
    elif row.run_id is not None and not checks_of(connection, row.run_id):
        problem, remedy = f"Run {row.run_id} is being verified.", "Decide when its verification has finished."
    elif wanted.due and not _is_day(wanted.due):
        problem, remedy = "The due date is no day.", "Give it as YYYY-MM-DD."
    elif wanted.verdict == ExceptionState.ACCEPTED and row.family in NEVER:
        problem, remedy = f"Exception {row.id} cannot be accepted.", f"It is {NEVER[row.family]}."
    elif wanted.verdict == ExceptionState.ACCEPTED and not (wanted.person and wanted.note):
        problem, remedy = "To accept needs an approver and the action agreed upon.", "Give --approver and --action."
    if problem:
        raise NotDecidable(problem, remedy)


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
