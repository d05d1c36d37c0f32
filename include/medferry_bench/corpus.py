"""What every measurement starts from: a legacy database, and the same rows extracted and transformed once."""

from __future__ import annotations

import gzip
import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa

from demo_clinics import database
from demo_clinics.generate import fill
from medferry.definition.migration import Migration, load_migration
from medferry.manifest import runs
from medferry.manifest.runs import SliceRow
from medferry.manifest.staged_files import record_files
from medferry.manifest.tables import run as run_table
from medferry.runtime.options import RunOptions
from medferry_bench.job import Job, run_job
from medferry_bench.migration import NAME, environment

RUN = "bench"
SEED = 7


@dataclass(frozen=True)
class Corpus:
    """`source_url` is the legacy database; `folder` holds the manifest and the staged files of the run `RUN`."""

    migration: Migration
    source_url: str
    folder: Path
    patients: int
    rows: int
    resources: int

    @property
    def settings(self) -> dict[str, str]:
        """Source, manifest and staging of `medferry.settings.Settings`, as prepared here: to be read only."""
        return self.settings_in(self.folder)

    def settings_in(self, folder: Path) -> dict[str, str]:
        """The same source with a manifest and a staging area in `folder`."""
        return {
            "source_url": self.source_url,
            "manifest_url": f"sqlite:///{folder}/manifest.db",
            "staging_url": str(folder / "staging"),
        }

    @property
    def slices(self) -> list[SliceRow]:
        """In load order."""
        with environment(self.settings).manifest.begin() as connection:
            return runs.slices_of(connection, RUN)

    def levels(self, base: str) -> Iterator[list[list[dict[str, Any]]]]:
        """The entries of all staged Bundles, level by level, under the identifier base `base`."""
        slices = self.slices
        for level in sorted({one.level for one in slices}):
            mine = [one for one in slices if one.level == level]
            yield [self._entries(one.id, number, base) for one in mine for number in range(one.bundles)]

    def _entries(self, slice_id: str, number: int, base: str) -> list[dict[str, Any]]:
        packed = (self.folder / "staging" / RUN / "bundles" / slice_id / f"{number:06d}.json.gz").read_bytes()
        entries: list[dict[str, Any]] = orjson.loads(self._under(base, gzip.decompress(packed)))["entry"]
        return entries

    def _under(self, base: str, content: bytes) -> bytes:
        return content.replace(self.migration.plan.base.encode(), base.encode())

    def copy(self, folder: Path, base: str, options: RunOptions) -> None:
        """A transformed run in `folder` that waits for its load with `options`, under the identifier base `base`."""
        staged, digests = self.folder / "staging" / RUN, dict[str, str]()
        for path in staged.rglob("*.json.gz"):
            content = gzip.compress(self._under(base, gzip.decompress(path.read_bytes())), compresslevel=3)
            digests[path.relative_to(staged).as_posix()] = hashlib.sha256(content).hexdigest()
            place = folder / path.relative_to(self.folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        with closing(sqlite3.connect(self.folder / "manifest.db")) as manifest:
            manifest.execute("VACUUM INTO ?", [str(folder / "manifest.db")])
        engine = sa.create_engine(f"sqlite:///{folder}/manifest.db")
        with engine.begin() as connection:
            connection.execute(sa.update(run_table).values(options=options.model_dump(mode="json")))
            record_files(connection, RUN, digests)
        engine.dispose()


@contextmanager
def corpus(folder: Path, patients: int, batch_size: int) -> Iterator[Corpus]:
    """Make up `patients` clean charts in an embedded PostgreSQL and bring them through extract and transform.

    Clean, because then every way writes the same resources: nothing is held back and nothing is refused.
    """
    with database.embedded() as legacy:
        engine = sa.create_engine(legacy.url)
        truth = fill(engine, SEED, patients, pace=0.0)
        engine.dispose()
        made = Corpus(load_migration(NAME), legacy.url, folder, patients, truth.eligible(), truth.resources.total())
        for kind in ("prepare", "extract", "transform"):
            run_job(Job(kind, made.settings, run_id=RUN, batch_size=batch_size))
        yield made
