"""People approve a cutover or a rollback before anything is closed: on which evidence, until when, and by whom."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from medferry.errors import MedferryError
from medferry.manifest.consents import Consent
from medferry.manifest.cutovers import Direction
from medferry.manifest.decisions import Decision, digest_of, record
from medferry.runtime.environment import Environment
from medferry.workflows.cutover_conditions import check_ready
from medferry.workflows.cutover_status import cutover_status
from medferry.workflows.cutover_words import APPROVALS, say_of_wave
from medferry.workflows.four_eyes import Agreement


class ApprovalTooOld(MedferryError):
    """The freeze would begin later than was approved. Nothing was closed."""


def evidence(environment: Environment, wave_id: str, direction: Direction) -> str:
    """What the approval is asked on, as a table in Markdown. Raises NotReady, NoSuchWave.

    A rollback is asked with what could be lost by it; whether all was written back is proven when it is frozen.
    """
    rows = _conditions(environment, wave_id) if direction is Direction.FORTH else _losses(environment, wave_id)
    return "\n".join(["| condition | evidence |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows)])


def arm(
    environment: Environment, wave_id: str, direction: Direction, shown: str, person: str, at: datetime, minutes: int
) -> Agreement:
    """Record who approved what he was shown, at which time; the conditions must still hold.

    Of two whom the plan asks for the first one's word is noted, and is no approval yet. Raises ApprovalTooOld more than
    `minutes` after it, NotReady; SamePerson, NotAnApprover, AnswerIsOver.
    """
    require_in_time(person, at, minutes)
    if direction is Direction.FORTH:
        _conditions(environment, wave_id)
    subject = f"{'cutover' if direction is Direction.FORTH else 'rollback'}/{environment.migration.name}/{wave_id}"
    note = f"answered at {at.astimezone(UTC).isoformat(timespec='seconds')}, for {minutes} min"
    agreement = say_of_wave(environment, wave_id, APPROVALS[direction], person, note, at)
    if agreement.agreed:
        with environment.decisions.begin() as connection:
            record(connection, subject, digest_of(shown), Decision(Consent.ACCEPTED, agreement.person, note))
    return agreement


def require_in_time(person: str, at: datetime, minutes: int) -> None:
    """Raises ApprovalTooOld more than `minutes` after somebody has approved."""
    latest = at + timedelta(minutes=minutes)
    if datetime.now(UTC) > latest:
        raise ApprovalTooOld(
            f"{person} approved a freeze that begins by {latest.astimezone(UTC):%Y-%m-%d %H:%M} UTC at the latest.",
            "Clear `look` with all that is downstream: people are asked anew.",
        )


def _conditions(environment: Environment, wave_id: str) -> list[tuple[str, str]]:
    return [(str(gate.name), _cell(gate.evidence)) for gate in check_ready(environment, wave_id, by_stages=True)]


def _losses(environment: Environment, wave_id: str) -> list[tuple[str, str]]:
    [wave] = [one for one in cutover_status(environment) if one.wave == wave_id]
    places = [(one.unit, f"written in {one.place or 'a place that could not be told'}") for one in wave.units]
    return places + [("unsafe", _cell(reason)) for reason in wave.unsafe]


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
