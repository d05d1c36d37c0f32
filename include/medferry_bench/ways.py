"""The ways into Medplum that are compared, each measured once against a target that holds nothing of its resources."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medferry.runtime.options import RunOptions
from medferry_bench import medplum_cli
from medferry_bench.corpus import RUN, Corpus
from medferry_bench.job import Job, Result, run_job
from medferry_bench.prebuilt import write_creates, write_ndjson, write_staged
from medferry_bench.systems import Target, fresh_target

DOCUMENTED_LANES = (1, 2, 4)


class WrongNumber(RuntimeError):
    """A way wrote another number of resources than the corpus has: its rate would mean nothing."""


@dataclass(frozen=True, slots=True)
class Ways:
    """Each method measures one way and returns {"seconds", "created", …}. Raises JobFailed, WrongNumber."""

    corpus: Corpus
    batch_size: int

    def ceiling(self, lanes: int) -> Result:
        with self._place() as (target, folder):
            write_creates(self.corpus, target.base, folder / "bundles")
            return self._counted(target, self._post(target, folder, lanes))

    def documented(self, lanes: int) -> Result:
        with self._place() as (target, folder):
            write_staged(self.corpus, target.base, folder / "bundles")
            return self._counted(target, self._post(target, folder, lanes))

    def cli_import(self) -> Result:
        """Raises CliUnavailable, too."""
        with self._place() as (target, folder):
            write_ndjson(self.corpus, target.base, folder / "resources.ndjson")
            seconds = medplum_cli.bulk_import(
                folder / "resources.ndjson", target.base_url, target.client_id, target.client_secret
            )
            return self._counted(target, {"seconds": seconds})

    def load(self, lanes: int) -> Result:
        with self._place() as (target, folder):
            self.corpus.copy(folder, target.base, RunOptions(lanes=lanes, batch_size=self.batch_size))
            return self._counted(target, run_job(self._job("load", target, folder, lanes)))

    def end_to_end_and_rerun(self, lanes: int) -> tuple[Result, Result]:
        """Whole runs into the same target: the first creates everything, the second finds nothing to change."""
        with self._place() as (target, folder):
            first = run_job(self._job("run", target, folder, lanes, "first"))
            second = run_job(self._job("run", target, folder, lanes, "second"))
            return self._counted(target, first), self._counted(target, second)

    def stages(self, lanes: int) -> dict[str, Result]:
        """Every stage of a run in a process of its own."""
        with self._place() as (target, folder):
            kinds = ("prepare", "extract", "transform", "load", "verify")
            return {kind: run_job(self._job(kind, target, folder, lanes)) for kind in kinds}

    @contextmanager
    def _place(self) -> Iterator[tuple[Target, Path]]:
        """A fresh target and an empty folder."""
        with fresh_target(self.corpus.migration) as target, tempfile.TemporaryDirectory(prefix="bench-") as folder:
            yield target, Path(folder)

    def _post(self, target: Target, folder: Path, lanes: int) -> Result:
        job = Job("post", target.settings, folder=str(folder / "bundles"), lanes=lanes, batch_size=self.batch_size)
        return run_job(job)

    def _job(self, kind: str, target: Target, folder: Path, lanes: int, run_id: str = RUN) -> Job:
        settings = self.corpus.settings_in(folder) | target.settings
        return Job(kind, settings, target.base, lanes=lanes, batch_size=self.batch_size, run_id=run_id)

    def _counted(self, target: Target, result: Result) -> Result:
        created = target.count(self.corpus.migration)
        if created != self.corpus.resources:
            raise WrongNumber(f"{created} resources in Medplum, {self.corpus.resources} should be: {result}")
        return result | {"created": created}
