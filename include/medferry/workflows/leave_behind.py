"""A named person lets a rollback leave writes in Medplum that no way back expresses, to do them by hand."""

from __future__ import annotations

from collections.abc import Mapping

from medferry.errors import OptionError
from medferry.manifest import left_behind
from medferry.manifest.decisions import digest_of
from medferry.manifest.spoken import Matter
from medferry.plan.people import Approval
from medferry.runtime.environment import Environment
from medferry.sync.wave import check_wave
from medferry.workflows.four_eyes import say


def leave_behind(environment: Environment, wave_id: str, accepted: Mapping[str, str], person: str) -> None:
    """Record it: `accepted` is what → why. Each holds for the state that kept the newest rollback back, and no longer.

    Raises NoSuchWave, OptionError; then nothing is recorded. WaitingForSecond where the plan asks for two.
    """
    migration = environment.migration
    check_wave(migration.plan, wave_id)
    if not person.strip() or any(len(reason.strip()) < 8 for reason in accepted.values()):
        raise OptionError("A person must answer for it.", "Give a name (--by), and WHAT=REASON with a sentence each.")
    with environment.decisions.begin() as connection:
        said = []
        refused = left_behind.unproven_of(connection, migration.name, wave_id)
        for what, reason in accepted.items():
            if what not in refused:
                raise OptionError(
                    f"The newest rollback of {wave_id} was not kept back by {what or 'nothing'}.",
                    "Try it without --accept first; `medferry cutover status` lists what it could not prove.",
                )
            about = f"left-behind/{wave_id}/{digest_of(what)}"
            matter = Matter(migration.name, Approval.ROLLBACK, about, digest_of(refused[what]))
            said.append(say(connection, migration.plan, matter, person, reason))
        for agreement, (what, reason) in zip(said, accepted.items(), strict=True):
            if agreement.agreed:
                by = agreement.person
                left_behind.leave_behind(connection, migration.name, wave_id, what, refused[what], by, reason)
    for agreement in said:
        agreement.require()
