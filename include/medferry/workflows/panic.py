"""Panic: one act stops the writing of all waves and opens what is closed and not flipped; another lifts it.

What is said is durable before anything is done: from then on nobody begins to write. It may be said again and again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from medferry.cutover.acts import Place, place_of
from medferry.cutover.gates import Gates
from medferry.errors import MedferryError, OptionError
from medferry.manifest import cutovers, panics
from medferry.manifest.cutovers import Attempt, Direction
from medferry.manifest.decisions import RecordedDecision, digest_of
from medferry.manifest.panics import PanicState
from medferry.manifest.spoken import Matter
from medferry.plan.people import Approval
from medferry.runtime import control
from medferry.runtime.control import NotAtWork
from medferry.runtime.environment import Environment
from medferry.source.gate.gate import GateState
from medferry.workflows.cutover import Choice, CutoverBusy, only_mover
from medferry.workflows.cutover_stages import back_out
from medferry.workflows.four_eyes import say

PAUSE_SECONDS = 0.5
"""Between two tries to be the one who moves units."""

Tell = Callable[[str], None]


class NotAllStopped(MedferryError):
    """The writing is held, and something else of the panic could not be done."""


@dataclass(frozen=True)
class Panic:
    """What to do it with. Who moves units now has `choice.patience` seconds to notice and to thaw by himself."""

    choice: Choice
    reason: str
    tell: Tell = lambda _: None
    left: list[str] = field(default_factory=list)
    """What could not be done, and what to do about it."""


def panic(environment: Environment, said: Panic) -> None:
    """Hold all writing, end every run, open what is closed and not flipped. Raises OptionError, NotAllStopped.

    A wave that is flipped stays so, with its users at work in Medplum; of one whose flip has begun both gates are shut,
    and it is told what completes it.
    """
    _check(said)
    with environment.manifest.begin() as connection:
        anew = panics.record_panic(
            connection, environment.migration.name, PanicState.HELD, said.choice.person, said.reason
        )
    said.tell("all writing is held" if anew else "all writing was held before")
    _abort_runs(environment, said)
    if environment.migration.gate is not None and environment.migration.gate.medplum is not None:
        _thaw(environment, said)
    if said.left:
        raise NotAllStopped(f"Writing is held, and {'; '.join(said.left)}", "Then say it again: `medferry panic`.")


def lift(environment: Environment, person: str, reason: str, answered: datetime | None = None) -> bool:
    """Let writing begin again; starts nothing. Returns False where nothing was held. `answered`: as `say` has it.

    Raises OptionError; WaitingForSecond, AnswerIsOver where the plan asks for two.
    """
    _check(Panic(Choice(person), reason))
    migration = environment.migration
    with environment.decisions.begin() as connection:
        held = panics.panic_of(connection, migration.name)
        if held is None:
            return False
        matter = Matter(migration.name, Approval.PANIC_LIFT, held.subject, digest_of(held.number), held.at)
        agreement = say(connection, migration.plan, matter, person, reason, answered)
        if agreement.agreed:
            return panics.record_panic(connection, migration.name, PanicState.LIFTED, agreement.person, reason)
    agreement.require()
    return False


def present_panic(environment: Environment) -> RecordedDecision | None:
    """Who holds all writing now, and why."""
    with environment.manifest.begin() as connection:
        return panics.panic_of(connection, environment.migration.name)


def _check(said: Panic) -> None:
    if not said.choice.person.strip() or len(said.reason.strip()) < 8:
        raise OptionError("A person must answer for it.", "Give a name, and a reason of a sentence.")


def _abort_runs(environment: Environment, said: Panic) -> None:
    """Those that are at work end after their chunk, which is recorded; what a dead worker has left ends here."""
    with environment.manifest.begin() as connection:
        found = panics.unfinished_runs(connection, environment.migration.name)
    for run_id in found:
        try:
            control.abort(environment, run_id)
        except NotAtWork:
            continue  # it has ended meanwhile
        said.tell(f"run {run_id} ends after its chunk")


def _thaw(environment: Environment, said: Panic) -> None:
    """Whoever moves units asks before each act whether writing is held, and thaws by himself; else it is done here."""
    try:
        _attempts(environment, said)
        with environment.medplum() as client, only_mover(environment):
            gates = Gates(environment, client)
            for unit, legacy in gates.legacy_of(environment.migration.plan.unit_ids).items():
                place = None if legacy.state is GateState.OPEN else place_of(legacy, gates.medplum.read(unit))
                if place is Place.FROZEN:  # nobody can write it in Medplum
                    gates.legacy.open(environment.capture, unit, legacy.epoch)
                    said.tell(f"{unit} is written in the legacy database again")
                elif place is Place.BETWEEN:
                    said.left.append(_between(environment, unit))
    except MedferryError as error:
        said.left.append(f"{error.problem} {error.remedy}".strip())


def _attempts(environment: Environment, said: Panic) -> None:
    clock = said.choice.clock
    until = clock.monotonic() + said.choice.patience
    while True:
        try:
            for attempt in _running(environment):
                _back_out(environment, attempt, said)
            return
        except CutoverBusy:
            if clock.monotonic() >= until:
                raise
            clock.sleep(PAUSE_SECONDS)


def _running(environment: Environment) -> list[Attempt]:
    """Those that may have closed what is to be opened again; one that prepares closes Medplum long before, for good."""
    with environment.manifest.begin() as connection:
        found = cutovers.running_attempts(connection, environment.migration.name)
    return [one for one in found if one.direction is not Direction.PREPARE]


def _back_out(environment: Environment, attempt: Attempt, said: Panic) -> None:
    """Raises CutoverBusy. What is half flipped is told with its units."""
    try:
        told = back_out(environment, attempt.wave, attempt.direction, said.choice)
    except CutoverBusy:
        raise
    except MedferryError as error:
        said.tell(f"wave {attempt.wave}: {error.problem}")
    else:
        said.tell(f"wave {attempt.wave}: {told}")


def _between(environment: Environment, unit: str) -> str:
    """A unit that can be written nowhere, and is too far to be thawed."""
    plan = environment.migration.plan
    wave = next((one.id for one in plan.waves if unit in one.units), plan.waves[-1].id if plan.waves else "all")
    return (
        f"{unit} can be written nowhere, because its flip has begun: `medferry cutover {wave}` completes it, "
        "also while writing is held."
    )
