"""What a run's verification comes to, with the decisions of people about what it found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from medferry.errors import HashesOnly, VerificationFailed
from medferry.governance.register import NEVER, family_of, is_fault
from medferry.manifest.charts import ReviewOutcome, charts_of, differing_of_subject
from medferry.manifest.checks import CheckResult, CheckStatus, get_verification, results_of, verification_of
from medferry.manifest.exceptions import ExceptionRow, ExceptionState, exceptions_found_by, exceptions_of
from medferry.manifest.runs import find_run
from medferry.manifest.subject import Subject


class Word(StrEnum):
    """What a verdict comes to, in a word or two; PROVEN may have more behind it."""

    NOT_VERIFIED = "not verified"
    SETTLING = "settling"
    NOT_PROVEN = "not proven"
    DRY_RUN = "dry run"
    HASHES_ONLY = "hashes only"
    PROVEN = "proven"


@dataclass(frozen=True)
class Verdict:
    """Of a run or of a verification. `differing_charts` counts charts whose newest review says that they differ.

    `sample_share` is the share of the rows whose values the newest verification has compared.
    """

    results: Sequence[CheckResult]
    exceptions: Sequence[ExceptionRow]
    differing_charts: int
    sample_share: float = 1.0
    dry_run: bool = False
    """Nothing was written, so that nothing about Medplum can be proven."""

    @property
    def accepted(self) -> list[ExceptionRow]:
        """Exceptions that hold now, and that an approver has accepted as they are."""
        return [
            e for e in self.exceptions if e.decision == ExceptionState.ACCEPTED and e.approver and e.family not in NEVER
        ]

    @property
    def unresolved(self) -> list[CheckResult]:
        """Results that stand against the verdict, and that no accepted exception covers."""
        covered = {(exception.family, exception.entity) for exception in self.accepted}
        return [r for r in self.results if is_fault(r) and (family_of(r.name), r.entity) not in covered]

    @property
    def still_open(self) -> list[ExceptionRow]:
        """What an earlier verification found, the newest, a sample, did not see, and nobody has accepted."""
        seen = {(family_of(result.name), result.entity) for result in self.results if is_fault(result)}
        return [e for e in self.exceptions if e.decision == ExceptionState.OPEN and (e.family, e.entity) not in seen]

    @property
    def passed(self) -> bool:
        """The run may be relied on: verified, nothing unresolved or open, no chart that a reviewer found to differ."""
        return self.nothing_differs and not self.hashes_only and not self.in_flight

    @property
    def nothing_differs(self) -> bool:
        """Verified, nothing unresolved or open, no chart that a reviewer found to differ: by hashes alone, perhaps."""
        return bool(self.results) and not (self.unresolved or self.still_open or self.differing_charts)

    @property
    def settling(self) -> bool:
        """Nothing stands against it but that something sent may still arrive: it is too early to say."""
        waits = bool(self.unresolved) and all(result.status == CheckStatus.SETTLING for result in self.unresolved)
        return waits and not (self.still_open or self.differing_charts)

    @property
    def in_flight(self) -> int:
        """Records that were on their way between the two systems: nothing stands against them, nor proves them."""
        of_all = [result for result in self.results if result.status == CheckStatus.IN_FLIGHT]
        return max((result.unchecked for result in of_all), default=0)

    @property
    def hashes_only(self) -> list[str]:
        """The entities of which nothing was compared with the legacy database, and for which nobody has accepted it."""
        return sorted({result.entity for result in self.results if result.status == CheckStatus.HASHES_ONLY})

    @property
    def proven_but_for_in_flight(self) -> bool:
        """Proven, or all but what is on its way: something was seen equal, and nothing stands against the rest."""
        seen = any(result.status == CheckStatus.EQUAL for result in self.results)
        return seen and self.nothing_differs and not self.hashes_only

    def text(self) -> str:
        """proven; proven by a sample of 10%; … but for N in flight; …, with N accepted exceptions; hashes only; …"""
        if not self.results:
            return Word.NOT_VERIFIED
        if self.settling:
            return Word.SETTLING
        if not self.nothing_differs:
            return Word.NOT_PROVEN
        if self.dry_run:
            return Word.DRY_RUN
        if self.hashes_only:
            return Word.HASHES_ONLY
        by = "" if self.sample_share == 1 else f" by a sample of {self.sample_share:.3%}"
        but = f" but for {self.in_flight:,} in flight" if self.in_flight else ""
        proven = f"{Word.PROVEN}{by}{but}"
        number = len(self.accepted)
        return f"{proven}, with {number} accepted exception{'s' if number > 1 else ''}" if number else proven

    def require(self, run_id: str) -> None:
        """Raises VerificationFailed unless the run has passed; HashesOnly where nothing differs, nor was compared."""
        if not self.results:
            raise VerificationFailed(f"Run {run_id} was not verified.", "Run its verification, then finish it.")
        self._require_no_fault(run_id)
        self._require_charts(run_id)
        self._require_comparisons()

    def require_passed(self, exceptions: str) -> None:
        """Raises VerificationFailed for what differs and is not accepted, charts too; `exceptions` is what lists it.

        Raises HashesOnly when nothing differs, but of some entity nothing was compared.
        """
        self._require_no_fault(exceptions)
        self._require_charts("RUN")
        self._require_comparisons()

    def _require_charts(self, run_id: str) -> None:
        if self.differing_charts:
            raise VerificationFailed(
                f"{self.differing_charts} charts differ, by their reviewers.",
                f"Remove the cause, draw them again with `medferry charts {run_id}`, and record the new review.",
            )

    def _require_comparisons(self) -> None:
        if self.hashes_only:
            raise HashesOnly(
                f"Hashes only: nothing of {', '.join(self.hashes_only)} was compared with the legacy database.",
                "Declare checks/<entity>.yaml, or accept it by name in the plan: acceptance.hashes_only.",
            )

    def _require_no_fault(self, exceptions: str) -> None:
        if self.settling:
            raise VerificationFailed(
                "It is too early for a verdict: a batch got no answer and may still arrive.",
                f"Verify again later ({self.unresolved[0].note or 'see the report'}).",
            )
        if self.unresolved:
            unresolved = sorted({f"{result.name} of {result.entity} ({result.status})" for result in self.unresolved})
            names = ", ".join(unresolved[:8])
            raise VerificationFailed(
                f"{len(self.unresolved)} of {len(self.results)} checks are not equal: {names}.",
                f"Open the reconciliation report, and decide: `medferry exceptions {exceptions}`. Nothing was changed "
                "by the verification.",
            )
        if self.still_open:
            names = ", ".join(sorted(f"{e.family} of {e.entity}" for e in self.still_open)[:8])
            raise VerificationFailed(
                f"The sample did not see what a verification before it has found: {names}.",
                f"Verify the whole run again, or decide: `medferry exceptions {exceptions}`.",
            )


def verdict_of(connection: sa.Connection, run_id: str) -> Verdict:
    """The verdict of a run as the manifest has it now."""
    differing = sum(chart.outcome == ReviewOutcome.DIFFERS for chart in charts_of(connection, run_id))
    done = verification_of(connection, run_id)
    share = done.sample_share if done else 1.0
    run = find_run(connection, run_id)
    dry = run is not None and bool(run.options.get("dry_run"))
    return Verdict(results_of(connection, done), exceptions_of(connection, run_id), differing, share, dry)


def verdict_of_verification(connection: sa.Connection, verification_id: int) -> Verdict:
    """The verdict of a verification that is of no run, as the manifest has it now.

    Of charts the newest review counts, whichever run they were drawn for.
    """
    done = get_verification(connection, verification_id)
    share = done.sample_share if done else 1.0
    differing = differing_of_subject(connection, done.migration, Subject.from_json(done.subject)) if done else []
    exceptions = exceptions_found_by(connection, verification_id)
    return Verdict(results_of(connection, done), exceptions, len(differing), share)


def require_equal(results: Sequence[CheckResult]) -> None:
    """Raises VerificationFailed unless there are results and none is a fault, whatever people have accepted."""
    Verdict(results, (), 0).require("")
