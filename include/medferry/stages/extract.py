"""Extract: stream one slice of the legacy database into staged files; rows that need no work are named, not staged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from typing import Any

import sqlalchemy as sa
from more_itertools import chunked

from medferry.manifest import runs
from medferry.manifest.runs import RunRow, SliceRow, SliceStage
from medferry.manifest.slice_lock import only_worker
from medferry.manifest.staged_files import record_files
from medferry.runtime.control import checkpoint
from medferry.runtime.environment import Environment, own_run
from medferry.runtime.hold import Hold
from medferry.runtime.known_keys import refuse_other_keys
from medferry.runtime.legacy_home import check_read
from medferry.runtime.options import RunOptions
from medferry.runtime.progress import Tally
from medferry.runtime.pulse import Pulse, pulse_of
from medferry.runtime.staging import dump_row, row_digest
from medferry.source.database import snapshot, stream
from medferry.source.entity import SourceEntity
from medferry.source.lookup import stream_keys
from medferry.source.slices import rows_of
from medferry.stages.unchanged import UnchangedRecords

_ROWS_AT_ONCE = 1_000


def extract_slice(environment: Environment, run_id: str, slice_id: str, source: sa.Connection | None = None) -> int:
    """Stage the slice's rows and return how many there are. A slice that was extracted before is left as it is.

    `source`: the view of the legacy database to read; None: one of its own.

    Raises SourceUnavailable, SourceError, StagingError, LeaseHeld, LeaseLost, SliceBusy, RunAborted, and, unless the
    run is dry, OtherSystem, SourceBehind and Rekeyed; where rows are the same as before, also MedplumUnavailable and
    Unauthorised.
    """
    run, options = own_run(environment, run_id)
    checkpoint(environment, run)
    with only_worker(environment.manifest, run_id, slice_id):
        with environment.manifest.begin() as connection:
            slice_ = runs.get_slice(connection, run_id, slice_id)
        return (
            slice_.eligible
            if runs.reached(slice_, SliceStage.EXTRACTED)
            else _extract(environment, run, options, slice_, source)
        )


def _extract(
    environment: Environment, run: RunRow, options: RunOptions, slice_: SliceRow, view: sa.Connection | None
) -> int:
    entity, staging = environment.migration.entities[slice_.entity], environment.staging(run.id)
    with ExitStack() as opened:
        source = view if view is not None else opened.enter_context(snapshot(environment.source))
        if not options.dry_run:
            check_read(environment, source)
            refuse_other_keys(environment, source, [entity.name])
        pulse = opened.enter_context(pulse_of(environment, run, "extract", [slice_], Tally()).beating())
        rows = _counted(_rows(source, entity, slice_, options.sample), pulse)
        if _looks_for_unchanged(run, options):
            client = cache(lambda: opened.enter_context(environment.medplum(options)))
            records, unchanged = UnchangedRecords(environment, run, entity.name, client), list[str]()
            changed = staging.write_rows(slice_.id, _changed(rows, entity, records, unchanged))
            staging.write_keys(slice_.id, unchanged)
            number = changed + len(unchanged)
        else:
            number = staging.write_rows(slice_.id, map(dump_row, rows))
            staging.write_keys(slice_.id, ())
    # What was extracted is what must be accounted for; of given keys, every one is, whether it is still there or not.
    eligible = number if slice_.keys is None else len(slice_.keys)
    with Hold(environment, run, slice_).writing() as connection:
        record_files(connection, run.id, staging.written)
        runs.set_extracted(connection, run.id, slice_.id, eligible)
        runs.set_stage(connection, run.id, slice_.id, SliceStage.EXTRACTED)
    return number


def _counted(rows: Iterator[dict[str, Any]], pulse: Pulse) -> Iterator[dict[str, Any]]:
    """The same rows. Raises RunAborted."""
    for page in chunked(rows, _ROWS_AT_ONCE):
        pulse.heed()
        pulse.tally.add(len(page))
        yield from page


def _looks_for_unchanged(run: RunRow, options: RunOptions) -> bool:
    """Not when the rows are wanted for what they are (a rehearsal, a replay), or to be written over what is there."""
    return not run.replays and not options.dry_run and not options.overwrite


def _changed(
    rows: Iterator[dict[str, Any]], entity: SourceEntity, records: UnchangedRecords, unchanged: list[str]
) -> Iterator[bytes]:
    """The rows to be staged, as lines; the keys of the others are added to `unchanged`."""
    for page in chunked(rows, _ROWS_AT_ONCE):
        lines = [(entity.ledger_key_of(row), dump_row(row)) for row in page]
        times = Counter(key for key, _ in lines)
        # Of a key with several rows each is staged, so that it is found and set aside.
        same = records.among({key: row_digest(line) for key, line in lines if times[key] == 1})
        for key, line in lines:
            if key in same:
                unchanged.append(key)
            else:
                yield line


def _rows(
    source: sa.Connection, entity: SourceEntity, slice_: SliceRow, sample: int | None
) -> Iterator[dict[str, Any]]:
    if slice_.keys is not None:
        return stream_keys(source, entity, slice_.units, slice_.keys)
    statement, values = rows_of(source.dialect.name, entity, slice_.units, slice_.low, slice_.high, sample)
    return stream(source, statement, values)
