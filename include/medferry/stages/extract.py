"""Extract: stream one slice of the legacy database into a staged file, unless a proven run has loaded the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from medferry.manifest import repeats, runs
from medferry.manifest.runs import RunRow, SliceRow
from medferry.manifest.workers import only_worker
from medferry.runtime.control import checkpoint
from medferry.runtime.environment import Environment, own_run
from medferry.runtime.hold import Hold
from medferry.runtime.options import RunOptions
from medferry.source.database import RowDigest, digest_rows, snapshot, stream
from medferry.source.entity import SourceEntity
from medferry.source.keys import stream_keys
from medferry.source.slices import rows_of


def extract_slice(environment: Environment, run_id: str, slice_id: str) -> int:
    """Stage the slice's rows and return how many there are. A slice that was extracted before is left as it is.

    When the newest proven run of the same migration had the same rows in this slice, its ledger lines are taken over
    instead and the slice counts as transformed; the load then only confirms what is in Medplum.

    Raises SourceUnavailable, SourceError, StagingError, LeaseHeld, LeaseLost, SliceBusy, RunAborted.
    """
    run, options = own_run(environment, run_id)
    checkpoint(environment, run)
    with only_worker(environment.manifest, run_id, slice_id):
        return extract_locked(environment, run, options, slice_id)


def extract_locked(
    environment: Environment, run: RunRow, options: RunOptions, slice_id: str, force: bool = False
) -> int:
    """The same, by the slice's only worker; `force` stages the rows also when a proven run had the same."""
    run_id = run.id
    with environment.manifest.begin() as connection:
        mine = runs.get_slice(connection, run_id, slice_id)
        if runs.reached(mine, "extracted"):
            return mine.eligible
        repeatable = mine.keys is None and not options.dry_run and options.sample is None and not force
        earlier = repeats.find_earlier(connection, run, mine) if repeatable else None
    entity, digest = environment.migration.entities[mine.entity], RowDigest()
    with snapshot(environment.source) as source:
        if earlier is not None and earlier.digest == _digest(source, entity, mine):
            return _take_over(environment, run, mine, earlier)
        rows = _rows(source, entity, mine, options.sample, digest)
        number = environment.staging(run_id).write_rows(slice_id, rows)
    # What was extracted is what must be accounted for; of a replay, every key is, whether it is still there or not.
    eligible = number if mine.keys is None else len(mine.keys)
    with Hold(environment, run, mine).writing() as connection:
        runs.set_extracted(connection, run_id, slice_id, eligible, digest.hex if options.sample is None else "")
        runs.set_stage(connection, run_id, slice_id, "extracted")
    return number


def _take_over(environment: Environment, run: RunRow, mine: SliceRow, earlier: SliceRow) -> int:
    with Hold(environment, run, mine).writing() as connection:
        runs.set_extracted(connection, run.id, mine.id, earlier.eligible, earlier.digest, earlier)
        repeats.copy_ledger(connection, run, mine, earlier)
        runs.set_stage(connection, run.id, mine.id, "transformed")
    return earlier.eligible


def _digest(source: sa.Connection, entity: SourceEntity, mine: SliceRow) -> str:
    return digest_rows(source, *rows_of(source.dialect.name, entity, mine.units, mine.low, mine.high)).hex


def _rows(
    source: sa.Connection, entity: SourceEntity, mine: SliceRow, sample: int | None, digest: RowDigest
) -> Iterator[dict[str, Any]]:
    if mine.keys is not None:
        return stream_keys(source, entity, mine.units, mine.keys)
    statement, values = rows_of(source.dialect.name, entity, mine.units, mine.low, mine.high, sample)
    return stream(source, statement, values, digest)
