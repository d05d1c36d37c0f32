"""How a load's entries reach Medplum: in synchronous batches, or as asynchronous jobs that the manifest knows of.

While a job may still run over a slice's rows, nobody creates one of them without a condition: a plain create and the
job's could both come first. With ``ifNoneExist`` and ``ifMatch`` a job that runs late, or twice, changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from medferry.manifest import jobs as ledger
from medferry.manifest import leases, runs
from medferry.manifest.jobs import OpenJob
from medferry.manifest.runs import RunRow, SliceRow
from medferry.medplum import jobs
from medferry.medplum.answers import EntryOutcome
from medferry.medplum.client import MedplumClient
from medferry.medplum.errors import JobFailed, JobStuck, RequestRefused, RequestTooLarge, Throttled, Unauthorised
from medferry.runtime.environment import scopes_of
from medferry.runtime.options import LoadMode

Post = Callable[[Sequence[dict[str, Any]], int], list[EntryOutcome]]
"""Entries and their price in points → each entry's own outcome, in order; raises as ``MedplumClient.batch``."""


@dataclass(frozen=True, slots=True)
class Send:
    """How entries are sent. `repeatable`: they may run twice, or beside a job, so each create needs its condition."""

    post: Post
    repeatable: bool


@dataclass(frozen=True, slots=True)
class Jobs:
    """The asynchronous jobs of one worker's slice. At most one for each lane: `send` returns when its job has ended."""

    manifest: sa.Engine
    client: MedplumClient
    run: RunRow
    slice: SliceRow
    fence: int

    def send(self, entries: Sequence[dict[str, Any]], _cost: int) -> list[EntryOutcome]:
        """Run repeatable entries as a job. Its price is the server's matter.

        Raises what ``MedplumClient.batch`` raises, and JobStuck, LeaseLost.
        """
        name = self._note(ledger.announce, self.slice.id, len(entries))
        try:
            url = jobs.submit(self.client, entries)
        except (Throttled, Unauthorised, RequestTooLarge, RequestRefused):
            self._note(ledger.withdraw, name)
            raise
        self._note(ledger.remember, name, url)
        return jobs.fetch(self.client, self._end(url), len(entries))

    def outstanding(self) -> bool:
        """Wait for the jobs that a crash has left; True when one is left that may still run.

        Raises JobStuck for a job that nobody has given up before.
        """
        with self.manifest.begin() as connection:
            found = ledger.open_jobs(connection, self.run.migration, self.slice)
        left = [job for job in found if not self._is_over(job)]
        return bool(left)

    def _is_over(self, job: OpenJob) -> bool:
        if not job.url:
            return False
        try:
            if job.given_up and jobs.poll(self.client, job.url) is None:
                return False
            self._end(job.url, job.run_id)
        except JobFailed:
            pass  # over all the same: the look-up finds what it did
        return True

    def _end(self, url: str, run_id: str = "") -> str:
        """Wait for a job, and note how it ended; returns its results' Binary."""
        try:
            results = jobs.wait(self.client, url)
        except JobFailed:
            self._note(ledger.mark_ended, url, "error", run_id=run_id)
            raise
        except JobStuck:
            self._note(ledger.give_up, url, run_id=run_id)
            raise
        self._note(ledger.mark_ended, url, "completed", run_id=run_id)
        return results

    def _note(self, write: Callable[..., Any], *values: object, run_id: str = "") -> Any:
        """One transaction of the manifest, of the slice's present worker only; it renews the leases."""
        with self.manifest.begin() as connection:
            runs.check_fence(connection, self.run.id, self.slice.id, self.fence)
            leases.check(connection, self.run.migration, self.run.id, scopes_of(self.run))
            return write(connection, run_id or self.run.id, *values)


def sender(jobs: Jobs, mode: LoadMode) -> Send:
    """How to send the slice's entries, after the jobs of a crash have been waited for. Raises JobStuck."""
    outstanding = jobs.outstanding()
    if mode is LoadMode.ASYNCHRONOUS:
        return Send(jobs.send, repeatable=True)
    return Send(jobs.client.batch, repeatable=outstanding)
