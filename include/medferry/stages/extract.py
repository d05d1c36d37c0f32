"""Extract: stream one slice of the legacy database into a staged file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from medferry.manifest import runs
from medferry.manifest.runs import SliceRow
from medferry.manifest.tables import slice_
from medferry.source.database import snapshot, stream
from medferry.source.entity import SourceEntity
from medferry.source.keys import stream_keys
from medferry.source.slices import rows_of
from medferry.stages.environment import Environment, own_run
from medferry.stages.wishes import heed


def extract_slice(environment: Environment, run_id: str, slice_id: str) -> int:
    """Stage the slice's rows and return how many there are. A slice that was extracted before is left as it is.

    Raises SourceUnavailable, SourceError, StagingError, LeaseHeld, RunAborted.
    """
    run, options = own_run(environment, run_id)
    heed(environment, run)
    with environment.manifest.begin() as connection:
        mine = runs.get_slice(connection, run_id, slice_id)
    if runs.reached(mine, "extracted"):
        return mine.eligible
    entity = environment.migration.entities[mine.entity]
    with snapshot(environment.source) as source:
        rows = environment.staging(run_id).write_rows(slice_id, _rows(source, entity, mine, options.sample))
    with environment.manifest.begin() as connection:
        # What was extracted is what must be accounted for; of a replay, every key is, whether it is still there or not.
        eligible = rows if mine.keys is None else len(mine.keys)
        this = sa.and_(slice_.c.run_id == run_id, slice_.c.id == slice_id)
        connection.execute(sa.update(slice_).where(this).values(eligible=eligible))
        runs.set_stage(connection, run_id, slice_id, "extracted")
    return rows


def _rows(source: sa.Connection, entity: SourceEntity, mine: SliceRow, sample: int | None) -> Iterator[dict[str, Any]]:
    if mine.keys is not None:
        return stream_keys(source, entity, mine.units, mine.keys)
    return stream(source, *rows_of(source.dialect.name, entity, mine.units, mine.low, mine.high, sample))
