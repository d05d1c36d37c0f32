"""The content of the reconciliation report, from the manifest alone. Holds keys and counts, no patient data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from medferry.definition.migration import Migration
from medferry.governance.verdict import Verdict, verdict_of
from medferry.manifest import audit
from medferry.manifest.accounting import AccountRow, ReasonRow, accounts, findings, mapping_versions, reasons
from medferry.manifest.charts import ChartRow, charts_of
from medferry.manifest.checks import CheckResult, FinishedPart, Verification, parts_of, verification_of
from medferry.manifest.conflicts import Conflict, list_conflicts
from medferry.manifest.coverage import LeafCount, coverage_of
from medferry.manifest.exceptions import ExceptionRow
from medferry.manifest.homes import Unclaimed, claim_of
from medferry.manifest.runs import RunRow, get_run
from medferry.manifest.throughput import Second, seconds
from medferry.mapping.outcomes import Disposition
from medferry.report.cutovers import CutoverTimeline, timelines
from medferry.report.in_step import WaveInStep, waves_in_step
from medferry.report.shown import shown_check
from medferry.runtime.claim import unclaimed_text
from medferry.source.shown_keys import shown_key, shown_keys, shown_subject

READY = "ready"
"""Of a record in a dry run: mapped, valid, all it refers to is ready or known, and a real one would load it."""

NOT_JUDGED = "References were not judged: a sample leaves out rows that its own refer to. Without --sample they are."


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """Everything that a report shows of one run."""

    run: RunRow
    title: str
    rows: list[AccountRow]
    outcome: Verdict
    charts: list[ChartRow]
    reasons: list[ReasonRow]
    findings: list[tuple[str, str, str, int]]
    unit_titles: dict[str, str]
    verification: Verification | None
    parts: list[FinishedPart]
    coverage: list[LeafCount]
    sent: list[Second]
    versions: dict[str, str]
    """Entity → version of the mapping that made it."""
    answers: dict[str, str]
    """The plan's questions and the organisation's answers, as the migration's files have them."""
    in_step: list[WaveInStep]
    cutovers: list[CutoverTimeline]
    """The newest attempts to move the waves of the run's units."""
    conflicts: list[Conflict]
    """Of the run's business units, that are not over now."""
    unclaimed: str
    """That the identifiers could not be claimed in Medplum, and why; empty: they are, or nothing was written."""
    head: str
    """Of the chain of acts when the report was written: `medferry audit verify` sees by it that nothing was cut off."""

    @property
    def declared(self) -> Mapping[str, Any]:
        """Entity → its checks' SQL and FHIRPath, as the verification has run them."""
        return self.verification.declared if self.verification else {}

    @property
    def dry_run(self) -> bool:
        return bool(self.run.options.get("dry_run"))

    @property
    def not_judged(self) -> str:
        """That a dry run tells nothing of references, and why; empty: they were judged, or loaded."""
        return NOT_JUDGED if self.run.options.get("sample") is not None else ""

    @property
    def undecided(self) -> str:
        """What a record is called that no load has decided: a dry run has found it ready for one."""
        return READY if self.dry_run else Disposition.PENDING

    @property
    def verdict(self) -> str:
        """As the verification and the decisions about it come to; a dry run proves nothing about Medplum."""
        return self.outcome.text()

    @property
    def checks(self) -> Sequence[CheckResult]:
        return self.outcome.results

    @property
    def exceptions(self) -> Sequence[ExceptionRow]:
        return self.outcome.exceptions

    def _verification(self) -> dict[str, Any] | None:
        """The checks that it has run stand beside it, as `declared_checks`."""
        facts = asdict(self.verification) if self.verification else {}
        if facts:
            facts["subject"] = shown_subject(facts["subject"])
        return {name: value for name, value in facts.items() if name != "declared"} or None

    def total(self, name: str) -> int:
        return sum(int(getattr(row, name)) for row in self.rows)

    def as_json(self) -> dict[str, Any]:
        """``{"run", "verdict", "rows": […], "checks": […], "exceptions": […], "charts": […], "parts": […], …}``."""
        names = ("entity", "reason", "field", "count")
        return {
            "run": self.run.id,
            "migration": self.run.migration,
            "kind": self.run.kind,
            "dry_run": self.dry_run,
            "not_judged": self.not_judged,
            "replays": self.run.replays,
            "status": self.run.status,
            "verdict": self.verdict,
            "started_at": self.run.started_at,
            "finished_at": self.run.finished_at,
            "fingerprint": self.run.fingerprint,
            "options": self.run.options,
            "rows": [asdict(row) for row in self.rows],
            "checks": [asdict(shown_check(check)) for check in self.checks],
            "exceptions": [asdict(one) for one in self.exceptions],
            "charts": [{**asdict(one), "key": shown_key(one.entity, one.key)} for one in self.charts],
            "verification": self._verification(),
            "coverage": [asdict(count) for count in self.coverage],
            "parts": [asdict(part) for part in self.parts],
            "throughput": [asdict(second) for second in self.sent],
            "mapping_versions": self.versions,
            "answers": self.answers,
            "in_step": [asdict(wave) for wave in self.in_step],
            "cutovers": [asdict(one) for one in self.cutovers],
            "declared_checks": self.declared,
            "reasons": [{**asdict(one), "keys": shown_keys(one.entity, one.keys)} for one in self.reasons],
            "conflicts": [one.as_json() for one in self.conflicts],
            "unclaimed": self.unclaimed,
            "head_of_acts": self.head,
            "findings": [dict(zip(names, line, strict=True)) for line in self.findings],
        }


def reconcile(connection: sa.Connection, migration: Migration, run_id: str) -> Reconciliation:
    """Gather a run's report. Raises UnknownRun."""
    done, run = verification_of(connection, run_id), get_run(connection, run_id)
    return Reconciliation(
        run=run,
        title=migration.plan.title,
        rows=accounts(connection, run_id),
        outcome=verdict_of(connection, run_id),
        charts=charts_of(connection, run_id),
        reasons=reasons(connection, run_id),
        findings=findings(connection, run_id),
        unit_titles={unit.id: unit.title or unit.id for unit in migration.plan.units},
        verification=done,
        coverage=coverage_of(connection, done.id) if done else [],
        parts=parts_of(connection, run_id),
        sent=seconds(connection, run_id),
        versions=mapping_versions(connection, run_id),
        answers=migration.plan.answers,
        in_step=waves_in_step(connection, migration, run.units),
        cutovers=timelines(connection, migration, run.units),
        conflicts=[one for one in list_conflicts(connection, migration.name) if one.unit in run.units],
        unclaimed=_unclaimed(connection, migration),
        head=str(audit.head(connection)),
    )


def _unclaimed(connection: sa.Connection, migration: Migration) -> str:
    base = migration.naming.base
    known = claim_of(connection, migration.name, base)
    return unclaimed_text(base, Unclaimed(known)) if known in set(Unclaimed) else ""
