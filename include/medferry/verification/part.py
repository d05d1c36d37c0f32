"""A part of a verification, and how it is done: what it finds is recorded in place of what was recorded of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from medferry.manifest import checks
from medferry.manifest.checks import Difference, FinishedPart
from medferry.manifest.database import now
from medferry.medplum.client import MedplumClient
from medferry.runtime.environment import Environment
from medferry.verification.hold import SubjectHold
from medferry.verification.recorder import CheckRecorder


@dataclass(frozen=True)
class VerificationPart:
    """A piece of the verification; `examine` fills the recorder and returns how many resources it looked for."""

    name: str
    entity: str
    examine: Callable[[CheckRecorder], int]


def keep_of(
    environment: Environment, verification_id: int, part: VerificationPart, hold: SubjectHold
) -> Callable[[list[Difference]], None]:
    def keep(found: list[Difference]) -> None:
        with environment.manifest.begin() as connection:
            hold.check(connection)
            checks.record_differences(connection, verification_id, part.name, found)

    return keep


def do_part(
    environment: Environment,
    verification_id: int,
    part: VerificationPart,
    client: MedplumClient | None,
    hold: SubjectHold,
    recorder: CheckRecorder | None = None,
    at_end: Callable[[], None] = lambda: None,
) -> None:
    """Do a part and record it, in place of what is recorded of it; `at_end` comes before its results are told."""
    with environment.manifest.begin() as connection:
        hold.check(connection)
        checks.forget_part(connection, verification_id, part.name)
    started, spent = now(), client.budget.spent if client else 0
    recorder = recorder or CheckRecorder(part.entity, keep_of(environment, verification_id, part, hold))
    resources = part.examine(recorder)
    at_end()
    results = recorder.results()
    points = client.budget.spent - spent if client else 0
    finished = FinishedPart(part.name, started, now(), resources, points)
    with environment.manifest.begin() as connection:
        hold.check(connection)
        checks.record_part(connection, verification_id, finished, results, recorder.periods, recorder.leaves)
