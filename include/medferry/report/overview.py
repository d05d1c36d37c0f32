"""Runs as an operator looks at them: what each is, what it comes to, how far it is. Counts and names, no values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from medferry.governance.verdict import Verdict, Word, verdict_of
from medferry.manifest import runs
from medferry.manifest.accounting import EntityProgress, progress_by_entity
from medferry.manifest.dead_letters import DeadLetterGroup, dead_letter_groups
from medferry.manifest.runs import Control, RunRow, RunStatus
from medferry.runtime.continuing import is_dry

_CONTROLLED: dict[str, str] = {Control.PAUSE: "paused", Control.ABORT: "aborting"}


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run and what its verification comes to."""

    run: RunRow
    verdict: Verdict

    @property
    def dry(self) -> bool:
        return is_dry(self.run)

    @property
    def state(self) -> str:
        """The status, or what an operator has made of a run at work."""
        controlled = _CONTROLLED.get(self.run.control) if self.run.status == RunStatus.RUNNING else None
        return controlled or self.run.status

    @property
    def word(self) -> str:
        """What there is to know first: the verdict; of a run that has none, and need not have one, its state."""
        return self.verdict.text() if self.judged else self.state

    @property
    def judged(self) -> bool:
        """Whether there is a verdict, or ought to be one."""
        unjudged = self.run.status in (RunStatus.RUNNING, RunStatus.APPLIED)
        ended_early = self.run.status == RunStatus.ABORTED and not self.verdict.results
        return not (unjudged or ended_early)

    @property
    def tone(self) -> str:
        """How good that is: ok, warn or bad; empty where it says nothing."""
        if self.word == Word.PROVEN:
            return "ok"
        if self.word == RunStatus.APPLIED:
            return ""
        at_work = self.run.status == RunStatus.RUNNING
        return "warn" if at_work or self.word == Word.DRY_RUN or self.word.startswith(Word.PROVEN) else "bad"

    def as_json(self) -> dict[str, Any]:
        run = self.run
        return {
            "run": run.id,
            "kind": run.kind,
            "dry_run": self.dry,
            "replays": run.replays,
            "state": self.state,
            "verdict": self.verdict.text() if self.judged else None,
            "started_at": run.started_at,
            "finished_at": run.finished_at,
            "units": run.units,
            "entities": run.entities,
        }


@dataclass(frozen=True, slots=True)
class RunDetail:
    """A run, how far it is with each entity, and its dead letters by reason."""

    summary: RunSummary
    progress: Sequence[EntityProgress]
    dead_letters: Sequence[DeadLetterGroup]


def summaries(connection: sa.Connection, migration: str, limit: int, cuts: bool = True) -> list[RunSummary]:
    """The newest runs, the newest first; `cuts`: those of the synchronisation too."""
    return [summary_of(connection, run) for run in runs.list_runs(connection, migration, limit, cuts)]


def summary_of(connection: sa.Connection, run: RunRow) -> RunSummary:
    return RunSummary(run, verdict_of(connection, run.id))


def detail_of(connection: sa.Connection, run: RunRow) -> RunDetail:
    return RunDetail(
        summary_of(connection, run),
        progress_by_entity(connection, run.id),
        dead_letter_groups(connection, run.migration, run.id),
    )
