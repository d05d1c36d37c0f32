"""The second look of a verification of what moves, and what it tells as in flight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from medferry.manifest.clock import read_clock
from medferry.manifest.unit_state import decided_since
from medferry.medplum.client import MedplumClient
from medferry.verification.hold import SubjectHold
from medferry.verification.moving_units import units_of
from medferry.verification.part import VerificationPart, do_part, keep_of
from medferry.verification.recorder import CheckRecorder
from medferry.verification.scope import VerificationScope
from medferry.verification.second_look import ON_ITS_WAY, FirstLook, Motion, SecondLook, wait_for

ONE_STATE, STATE = "verification: of one state", "state"


@dataclass(frozen=True)
class Looks:
    """What a verification of a subject that moves has seen, by part; `began` is a time of the manifest."""

    motion: Motion
    first: Mapping[str, FirstLook]
    began: str


def look_again(
    scope: VerificationScope,
    verification_id: int,
    due: Sequence[VerificationPart],
    client: MedplumClient,
    hold: SubjectHold,
    looks: Looks,
) -> None:
    """Do once more what differed or was written since, and tell what is in flight; last of all."""
    environment = scope.environment
    wait_for(client, looks.motion, looks.first.values())

    def decided(since: str) -> dict[str, set[str]]:
        with environment.manifest.begin() as connection:
            return decided_since(connection, scope.migration.name, scope.units, since)

    with environment.manifest.begin() as connection:
        again = read_clock(connection)
    written, aside = decided(looks.began), set[tuple[str, str]]()
    for part in due:
        first = looks.first.get(part.name)
        if first is None or not (first.looks_again or part.entity in written or (part.entity == "all" and written)):
            continue
        keep, units = keep_of(environment, verification_id, part, hold), partial(units_of, scope)
        recorder = SecondLook(part.entity, keep, units_of=units, first=first.seen, before=looks.motion(client))

        def settle(recorder: SecondLook = recorder) -> None:
            moving = {entity: set(keys) for entity, keys in looks.motion(client).items()}
            for entity, keys in decided(again).items():
                moving.setdefault(entity, set()).update(keys)
            recorder.settle(moving)

        do_part(environment, verification_id, part, client, hold, recorder, settle)
        aside |= recorder.set_aside
    ways = [looks.motion(client), decided(again)]
    moving = {(entity, key) for way in ways for entity, keys in way.items() if entity in scope.units for key in keys}
    state = VerificationPart(STATE, "all", lambda recorder: _tell_in_flight(recorder, len(moving | aside)))
    do_part(environment, verification_id, state, client, hold)


def _tell_in_flight(recorder: CheckRecorder, number: int) -> int:
    if number:
        recorder.in_flight(ONE_STATE, number, ON_ITS_WAY)
    else:
        recorder.equal(ONE_STATE)
    return 0
