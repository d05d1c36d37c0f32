"""Verify a subject: every part in turn, each recorded when it is finished, so that a verification that died goes on.

Every check says "equal", "different" or "could not check"; a subject is proven only when all
of them are equal, or what is not is accepted by name (`verdict`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import sqlalchemy as sa

from medferry.governance.register import register
from medferry.governance.verdict import Verdict, verdict_of_verification
from medferry.manifest import checks, verifications
from medferry.manifest.checks import CheckResult, Difference, Verification, VerificationRequest
from medferry.manifest.clock import read_clock
from medferry.manifest.subject import Subject
from medferry.medplum.client import MedplumClient
from medferry.runtime.environment import Environment
from medferry.runtime.legacy_home import check_legacy_if_it_answers
from medferry.runtime.systems import check_medplum_if_it_answers
from medferry.verification import acceptance
from medferry.verification.accounting import examine_rows, examine_source
from medferry.verification.born import examine_born
from medferry.verification.hold import holding
from medferry.verification.leftovers import examine_leftovers
from medferry.verification.look_again import ONE_STATE, STATE, Looks, look_again
from medferry.verification.options import Sampling
from medferry.verification.part import VerificationPart, do_part, keep_of
from medferry.verification.recorder import CheckRecorder
from medferry.verification.references import ReferenceResolver
from medferry.verification.scope import VerificationScope, scope_of_run, scope_of_subject
from medferry.verification.second_look import FirstLook, Motion
from medferry.verification.sent import examine_sent
from medferry.verification.server import examine_answers
from medferry.verification.standstill import watching
from medferry.verification.stored import ResourceProgress, StoredResourceCheck

EVERYTHING = Subject()
"""Whatever has been loaded."""

EntityProgress = Callable[[str, int], None]
"""Called as each part of a verification begins: the entity that it is about ("all": every one), and how many parts
there are in all."""


def verify_run(
    environment: Environment,
    run_id: str,
    progress: EntityProgress = lambda *_: None,
    choice: Sampling | None = None,
    force: bool = False,
    report_progress: ResourceProgress = lambda *_: None,
) -> list[CheckResult]:
    """Run all checks of a run's subject, record them for it and return them. Raises UnknownRun.

    A verification of the same choice that died goes on behind its finished parts, unless `force`, they are older
    than an hour, or something was written since. One whose process stood still for an hour does all parts again.
    Raises VerificationAtWork while another process has the same subject.
    A dry run wrote nothing: only its accounting against the source is checked.
    """
    scope = scope_of_run(environment, run_id, choice or Sampling())
    return _verify(scope, progress, force, report_progress)[1]


@dataclass(frozen=True)
class SubjectVerification:
    """A verification of a subject as it is now, with the verdict on it."""

    id: int
    verdict: Verdict


def verify_subject(
    environment: Environment,
    subject: Subject = EVERYTHING,
    progress: EntityProgress = lambda *_: None,
    choice: Sampling | None = None,
    force: bool = False,
    report_progress: ResourceProgress = lambda *_: None,
    motion: Motion | None = None,
) -> SubjectVerification:
    """Run all checks of what has been loaded of a subject, as it is now, whichever runs loaded it.

    Each is kept under an id of its own, with its exceptions. One of the same subject and choice that died goes on
    behind its finished parts, unless `force`. With a `motion`, of what is kept in step, what differs is looked at
    twice. Raises UnknownSubject.
    """
    scope = scope_of_subject(environment, subject, choice or Sampling())
    finished, _ = _verify(scope, progress, force, report_progress, motion)
    with environment.manifest.begin() as connection:
        return SubjectVerification(finished.id, verdict_of_verification(connection, finished.id))


def _verify(
    scope: VerificationScope,
    progress: EntityProgress,
    force: bool,
    report_progress: ResourceProgress,
    motion: Motion | None = None,
) -> tuple[Verification, list[CheckResult]]:
    environment, request, looks = scope.environment, scope.request(), dict[str, FirstLook]()
    with holding(environment.manifest, request) as hold:
        with environment.manifest.begin() as connection:
            verification_id, done = _begin(connection, scope, request, force or motion is not None)
            began = read_clock(connection)
        with nullcontext() if scope.options.dry_run else environment.medplum(scope.options) as client:
            if client is not None:
                check_medplum_if_it_answers(environment, client)
                check_legacy_if_it_answers(environment)
            with watching() as watch:
                due = _due(scope, client, report_progress, verification_id)
                waiting = deque(part for part in due if part.name not in done - {STATE})
                while waiting:
                    part = waiting.popleft()
                    progress(part.entity, len(due))
                    if motion is not None and client is not None:
                        if part.name == STATE:
                            look_again(scope, verification_id, due, client, hold, Looks(motion, looks, began))
                            continue
                        looks[part.name] = FirstLook(part.entity, keep_of(environment, verification_id, part, hold))
                    do_part(environment, verification_id, part, client, hold, looks.get(part.name))
                    if watch.stood_still():  # what was read before is out of date, and what is known of references
                        waiting = deque(_due(scope, client, report_progress, verification_id))
        with environment.manifest.begin() as connection:
            hold.check(connection)
            verifications.require_parts(connection, verification_id, [part.name for part in due])
            finished = checks.finish_verification(connection, verification_id)
            results = checks.results_of(connection, finished)
            register(connection, finished, results)
            return finished, results


def _due(
    scope: VerificationScope, client: MedplumClient | None, report_progress: ResourceProgress, verification_id: int
) -> list[VerificationPart]:
    """All parts of a verification that is recorded."""
    state = VerificationPart(STATE, "all", partial(_one_state, scope, verification_id))
    return [*parts(scope, client, report_progress), state]


def _begin(
    connection: sa.Connection, scope: VerificationScope, request: VerificationRequest, force: bool
) -> tuple[int, frozenset[str]]:
    """The verification's id, and the parts that need not be done: none where something was written since it began."""
    state = verifications.state_of(connection, request.migration, scope.units, scope.keys)
    verification_id, done = checks.begin_verification(connection, request, force)
    if done and verifications.began_with(connection, verification_id) != state:
        verification_id, done = checks.begin_verification(connection, request, force=True)
    verifications.note_state(connection, verification_id, state)
    return verification_id, done


def _one_state(scope: VerificationScope, verification_id: int, recorder: CheckRecorder) -> int:
    """Nothing has decided any record of the subject since the verification began: it is of one state."""
    with scope.environment.manifest.begin() as connection:
        now_is = verifications.state_of(connection, scope.migration.name, scope.units, scope.keys)
        same = verifications.began_with(connection, verification_id) == now_is
    if same:
        recorder.equal(ONE_STATE)
    else:
        recorder.unchecked(ONE_STATE, 1, "Something was written of the subject while it was verified.")
    return 0


def parts(
    scope: VerificationScope,
    client: MedplumClient | None,
    report_progress: ResourceProgress = lambda *_: None,
    entities: Sequence[str] | None = None,
) -> list[VerificationPart]:
    """The parts of a verification in order; of some `entities` only, or all. Without a client: the sources alone."""
    names = scope.entities if entities is None else [name for name in scope.entities if name in entities]
    found = [VerificationPart(f"source/{name}", name, partial(_source, scope, name)) for name in names]
    whole = VerificationPart("run" if scope.run else "all", "all", partial(_whole, scope, client))
    if client is None:
        return found
    stored = partial(_stored, scope, client, ReferenceResolver(client), report_progress)
    found += [VerificationPart(f"stored/{name}", name, partial(stored, name)) for name in names]
    if entities is None:
        found.append(VerificationPart("leftovers", "all", partial(examine_leftovers, scope, client)))
    return [*found, whole]


def examine(part: VerificationPart) -> tuple[list[CheckResult], list[Difference]]:
    """Do one part and return what it found, with nothing recorded."""
    found: list[Difference] = []
    recorder = CheckRecorder(part.entity, found.extend)
    part.examine(recorder)
    return recorder.results(), found


def _source(scope: VerificationScope, entity: str, recorder: CheckRecorder) -> int:
    examine_source(scope, entity, recorder)
    if not scope.options.dry_run:
        acceptance.examine_entity(scope, entity, recorder)
    return 0


def _stored(
    scope: VerificationScope,
    client: MedplumClient,
    existing: ReferenceResolver,
    report_progress: ResourceProgress,
    entity: str,
    recorder: CheckRecorder,
) -> int:
    sent, failed = client.sent, client.failed
    resources = StoredResourceCheck(scope, client, entity, existing, recorder, report_progress).examine()
    examine_born(scope, client, entity, recorder)
    examine_answers(client.sent - sent, client.failed - failed, recorder)
    return resources


def _whole(scope: VerificationScope, client: MedplumClient | None, recorder: CheckRecorder) -> int:
    examine_rows(scope, recorder)
    acceptance.examine_subject(scope, recorder)
    if client is not None:
        examine_sent(scope, client, recorder)
    return 0
