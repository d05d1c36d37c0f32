"""The child process of `medferry_bench.job`: does one job and prints its result."""

from __future__ import annotations

import json
import resource as limits
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from medferry.governance.verdict import require_equal
from medferry.manifest import runs
from medferry.manifest.checks import parts_of
from medferry.manifest.runs import SliceRow
from medferry.runtime.environment import Environment, own_run
from medferry.runtime.options import RunOptions
from medferry.stages.extract import extract_slice
from medferry.stages.load import load_session
from medferry.stages.prepare import prepare_run, scope_of
from medferry.stages.transform import map_row, transform_slice
from medferry.verification.run import verify_run
from medferry.workflows.migrate import execute_run
from medferry_bench.growth import stage_rows
from medferry_bench.job import Job, Result, peak_bytes, read_job
from medferry_bench.migration import environment
from medferry_bench.poster import Poster, request_of
from medferry_bench.prebuilt import read_levels


def _options(job: Job) -> RunOptions:
    return RunOptions(lanes=job.lanes, batch_size=job.batch_size)


def _slices(here: Environment, job: Job) -> list[SliceRow]:
    with here.manifest.begin() as connection:
        return runs.slices_of(connection, job.run_id)


def prepare(job: Job) -> Result:
    here = environment(job.settings, job.base)
    slices = prepare_run(here, job.run_id, "bench", scope_of(here.migration, None, None), _options(job))
    return {"source_units": sum(one.eligible for one in slices)}


def extract(job: Job) -> Result:
    here = environment(job.settings, job.base)
    slices = _slices(here, job)
    started = time.perf_counter()
    rows = sum(extract_slice(here, job.run_id, one.id) for one in slices)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "source_units": rows}


def row_bytes(job: Job) -> Result:
    """Bytes of the staged rows as JSON."""
    here = environment(job.settings, job.base)
    staging = here.staging(job.run_id)
    return {"bytes": sum(len(line) for s in _slices(here, job) for line, _ in staging.read_rows(s.id))}


def transform(job: Job) -> Result:
    here = environment(job.settings, job.base)
    slices = _slices(here, job)
    started = time.perf_counter()
    counts: Counter[str] = Counter()
    for one in slices:
        counts.update(transform_slice(here, job.run_id, one.id))
    return {"seconds": time.perf_counter() - started, "source_units": counts.total()}


def map_and_validate(job: Job) -> Result:
    """Mapping and full validation alone, one process: rows are read before the clock starts, nothing is staged."""
    here = environment(job.settings, job.base)
    staging, migration = here.staging(job.run_id), here.migration
    resources, seconds, cpu = 0, 0.0, 0.0
    for one in _slices(here, job):
        spec, entity = migration.specs[one.entity], migration.entities[one.entity]
        rows = [row for _, row in staging.read_rows(one.id)]
        if rows:
            map_row(spec, entity, rows[0], migration.settings)  # builds the type's validator, once a process
        started, cpu_before = time.perf_counter(), time.process_time()
        for row in rows:
            resources += len(map_row(spec, entity, row, migration.settings).resources)
        seconds += time.perf_counter() - started
        cpu += time.process_time() - cpu_before
    return {"seconds": seconds, "cpu_seconds": cpu, "resources": resources}


def load(job: Job) -> Result:
    here = environment(job.settings, job.base)
    slices = _slices(here, job)  # opens the manifest, which brings its tables up to date
    started = time.perf_counter()
    run, options = own_run(here, job.run_id)
    with load_session(here, run, options) as session:
        session.load([one.id for one in slices])
    return {"seconds": time.perf_counter() - started, "points": session.client.budget.spent}


def verify(job: Job) -> Result:
    here = environment(job.settings, job.base)
    started = time.perf_counter()
    require_equal(verify_run(here, job.run_id))
    seconds = time.perf_counter() - started
    with here.manifest.begin() as connection:
        parts = parts_of(connection, job.run_id)
    done = {"resources": sum(one.resources for one in parts), "points": sum(one.points for one in parts)}
    return {"seconds": seconds, **done}


def run(job: Job) -> Result:
    """A whole run. `seconds` end when the last resource is loaded and read back, `verified_seconds` with the run.

    `last` is when each stage last told of progress, in seconds after the start.
    """
    here = environment(job.settings, job.base)
    last: dict[str, float] = {}
    started = time.perf_counter()

    def tell(stage: str, *_: object) -> None:
        last[stage] = round(time.perf_counter() - started, 3)

    execute_run(here, job.run_id, "bench", scope_of(here.migration, None, None), _options(job), tell)
    seconds = time.perf_counter() - started
    units = sum(s.eligible for s in _slices(here, job))
    return {"seconds": last["load"], "verified_seconds": seconds, "last": last, "source_units": units}


def post(job: Job) -> Result:
    """Post the prepared Bundles of `job.folder`."""
    levels = [[request_of(entries) for entries in level] for level in read_levels(Path(job.folder))]
    url, client_id, secret = (job.settings[f"medplum_{n}"] for n in ("base_url", "client_id", "client_secret"))
    poster = Poster(url, client_id, secret, job.lanes, job.batch_size)
    return {"seconds": poster.post(levels), "statuses": {str(k): n for k, n in poster.statuses.items()}}


def grow(job: Job) -> Result:
    """Stage `job.number` source records made from the rows of the run `job.folder`."""
    return {"source_units": stage_rows(environment(job.settings), job.folder, job.run_id, job.number)}


_KINDS: dict[str, Callable[[Job], Result]] = {
    one.__name__: one
    for one in (prepare, extract, row_bytes, transform, map_and_validate, load, verify, run, post, grow)
}


def main() -> None:
    job = read_job()
    before = time.process_time()
    result = _KINDS[job.kind](job)
    result.setdefault("cpu_seconds", time.process_time() - before)
    children = limits.getrusage(limits.RUSAGE_CHILDREN)
    result["children_cpu_seconds"] = children.ru_utime + children.ru_stime
    sys.stdout.write(f"{json.dumps(result | {'peak_bytes': peak_bytes()})}\n")


if __name__ == "__main__":
    main()
