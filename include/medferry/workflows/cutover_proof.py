"""What a cutover proves: all of its wave while users are at work, and under the freeze what has changed since."""

from __future__ import annotations

from datetime import datetime, timedelta

from medferry.cutover.drain import PAUSE_SECONDS, Time
from medferry.cutover.hooks import Keys
from medferry.cutover.switch import AGAIN, VERIFIED
from medferry.errors import VerificationFailed
from medferry.manifest.checks import CheckStatus, difference_lines
from medferry.manifest.clock import read_clock
from medferry.manifest.sent_batches import open_batches
from medferry.manifest.subject import Subject
from medferry.runtime.environment import Environment
from medferry.sync.wave import SyncedWave
from medferry.verification.look_again import ONE_STATE
from medferry.verification.run import SubjectVerification, verify_subject

ANSWERED_WITHIN = 10.0
"""Seconds."""

APART = timedelta(minutes=5)
"""So far may the clocks of the hosts be apart that verify and that decide records."""


def verified(environment: Environment, wave: SyncedWave, clock: Time) -> dict[str, object]:
    """All of the wave is verified, while its users are at work: from when on, and which, records are to be once more.

    What differs by then, record by record, is judged again under the freeze. Raises VerificationFailed for all else.
    """
    with environment.manifest.begin() as connection:
        began = read_clock(connection)
    found = verify_subject(environment, Subject(units=tuple(wave.units)), force=True)
    settled = _settled(environment, found, clock)
    since = (datetime.fromisoformat(began) - APART).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {VERIFIED: since, AGAIN: _to_look_at_again(environment, found, settled)}


def _to_look_at_again(environment: Environment, found: SubjectVerification, settled: bool) -> dict[str, list[str]]:
    """Entity → keys of what differs while users write. Raises VerificationFailed for what no key tells.

    That something was written meanwhile is no fault here: whatever was is verified under the freeze.
    """
    keys: dict[str, set[str]] = {}
    unresolved = [result for result in found.verdict.unresolved if result.name != ONE_STATE]
    faults = [result for result in unresolved if not (settled and result.status == CheckStatus.SETTLING)]
    with environment.manifest.begin() as connection:
        for result in faults:
            lines = list(difference_lines(connection, found.id, result.entity, result.name))
            if result.unchecked or not lines or result.entity not in environment.migration.entities:
                passed(found, "the wave")
            keys.setdefault(result.entity, set()).update(line[0] for line in lines)
    if not found.verdict.results or found.verdict.still_open or found.verdict.differing_charts:
        passed(found, "the wave")
    return {entity: sorted(of_entity) for entity, of_entity in sorted(keys.items())}


def _settled(environment: Environment, found: SubjectVerification, clock: Time) -> bool:
    """Whether what a verification found to be under way was only at work: its answers come within moments.

    The waves that are kept in step send batches all the time, of other units in a freeze, too. One that has lost its
    answer stays open for longer. What they wrote meanwhile is verified under the freeze, or is no record of it.
    """
    if all(result.status != CheckStatus.SETTLING for result in found.verdict.unresolved):
        return True
    until, left = clock.monotonic() + ANSWERED_WITHIN, _open(environment)
    while left and clock.monotonic() < until:
        clock.sleep(PAUSE_SECONDS)
        left &= _open(environment)
    return not left


def _open(environment: Environment) -> set[int]:
    with environment.manifest.begin() as connection:
        return {batch.id for batch in open_batches(connection, environment.migration.name)}


def verified_keys(environment: Environment, keys: Keys, clock: Time) -> str:
    """What has changed is read in both systems; returns how it ended. Raises VerificationFailed."""
    subject = Subject(keys={name: sorted(some) for name, some in sorted(keys.items())})
    found = verify_subject(environment, subject, force=True)
    if found.verdict.settling and _settled(environment, found, clock):
        return f"verification {found.id} is green, what was being sent meanwhile is at its end"
    return passed(found, "what has changed")


def passed(found: SubjectVerification, what: str) -> str:
    """Raises VerificationFailed."""
    if not found.verdict.nothing_differs:
        faults = ", ".join(sorted({f"{one.entity}: {one.name}" for one in found.verdict.unresolved})[:5])
        raise VerificationFailed(
            f"Verification {found.id} of {what} is not green ({faults or 'nothing was compared'}).",
            "Look at it (`medferry exceptions`), mend it or let it be accepted, and try again.",
        )
    return f"verification {found.id} is green"
