"""Verify a run: every part in turn, each recorded when it is finished, so that a verification that died goes on.

Every check says "equal", "different" or "could not check"; a run is proven only when all
of them are equal, or what is not is accepted by name (`verdict`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

from medferry.governance.register import register
from medferry.manifest import checks
from medferry.manifest.checks import CheckResult, Difference, FinishedPart, VerificationRow
from medferry.manifest.database import now
from medferry.manifest.runs import get_run
from medferry.medplum.client import MedplumClient
from medferry.runtime.environment import Environment
from medferry.runtime.options import kept_options
from medferry.verification.accounting import examine_acceptance, examine_source
from medferry.verification.recorder import CheckRecorder
from medferry.verification.references import ReferenceResolver
from medferry.verification.scope import Sampling, Scope
from medferry.verification.server import examine_answers
from medferry.verification.stored import ResourceProgress, StoredResourceCheck

Progress = Callable[[str], None]
"""Called with the name of each entity whose check begins."""


def verify_run(
    environment: Environment,
    run_id: str,
    progress: Progress = lambda _: None,
    choice: Sampling | None = None,
    force: bool = False,
    report_progress: ResourceProgress = lambda *_: None,
) -> list[CheckResult]:
    """Run all checks of a run, record them and return them. Raises UnknownRun.

    A verification of the same choice that died goes on behind its finished parts, unless `force`. A dry run wrote
    nothing: only its accounting against the source is checked.
    """
    scope = scope_of_run(environment, run_id, choice or Sampling())
    asked = VerificationRow(run_id, scope.choice.sample_share, scope.choice.seed, environment.migration.fingerprint)
    with environment.manifest.begin() as connection:
        done = checks.begin_verification(connection, asked, force)
    with nullcontext() if scope.options.dry_run else environment.medplum(scope.options) as client:
        for part in parts(scope, client, report_progress):
            if part.name not in done:
                progress(part.entity)
                _do(environment, run_id, part, client)
    with environment.manifest.begin() as connection:
        checks.finish_verification(connection, run_id)
        results = checks.checks_of(connection, run_id)
        register(connection, run_id, results, whole=scope.choice.sample_share == 1)
        return results


@dataclass(frozen=True)
class VerificationPart:
    """A piece of the verification; `examine` fills the tally and returns how many resources it looked for."""

    name: str
    entity: str
    examine: Callable[[CheckRecorder], int]


def scope_of_run(environment: Environment, run_id: str, choice: Sampling) -> Scope:
    """What a verification of the run is about. Raises UnknownRun."""
    with environment.manifest.begin() as connection:
        run = get_run(connection, run_id)
    return Scope(environment, run, kept_options(run.options), choice)


def parts(
    scope: Scope,
    client: MedplumClient | None,
    report_progress: ResourceProgress = lambda *_: None,
    entities: Sequence[str] | None = None,
) -> list[VerificationPart]:
    """The parts of a verification in order; of some `entities` only, or all. Without a client: the sources alone."""
    names = scope.run.entities if entities is None else [name for name in scope.run.entities if name in entities]
    found = [VerificationPart(f"source/{name}", name, partial(_source, scope, name)) for name in names]
    if client is None:
        return found
    stored = partial(_stored, scope, client, ReferenceResolver(client), report_progress)
    found += [VerificationPart(f"stored/{name}", name, partial(stored, name)) for name in names]
    return [*found, VerificationPart("run", "all", partial(_whole, scope))]


def examine(part: VerificationPart) -> tuple[list[CheckResult], list[Difference]]:
    """Do one part and return what it found, with nothing recorded."""
    found: list[Difference] = []
    recorder = CheckRecorder(part.entity, found.extend)
    part.examine(recorder)
    return recorder.results(), found


def _do(environment: Environment, run_id: str, part: VerificationPart, client: MedplumClient | None) -> None:
    def keep(found: list[Difference]) -> None:
        with environment.manifest.begin() as connection:
            checks.record_differences(connection, run_id, part.name, found)

    with environment.manifest.begin() as connection:
        checks.forget_part(connection, run_id, part.name)
    started, spent = now(), client.budget.spent if client else 0
    recorder = CheckRecorder(part.entity, keep)
    resources = part.examine(recorder)
    results = recorder.results()
    points = client.budget.spent - spent if client else 0
    with environment.manifest.begin() as connection:
        checks.record_part(connection, run_id, FinishedPart(part.name, started, now(), resources, points), results)


def _source(scope: Scope, entity: str, recorder: CheckRecorder) -> int:
    examine_source(scope, entity, recorder)
    return 0


def _stored(
    scope: Scope,
    client: MedplumClient,
    existing: ReferenceResolver,
    report_progress: ResourceProgress,
    entity: str,
    recorder: CheckRecorder,
) -> int:
    sent, failed = client.sent, client.failed
    resources = StoredResourceCheck(scope, client, entity, existing, recorder, report_progress).examine()
    examine_answers(client.sent - sent, client.failed - failed, recorder)
    return resources


def _whole(scope: Scope, recorder: CheckRecorder) -> int:
    examine_acceptance(scope, scope.environment.migration.plan.acceptance, recorder)
    return 0
