"""Extract: stream one slice of the legacy database into a staged file."""

from __future__ import annotations

import sqlalchemy as sa

from medferry.manifest import runs
from medferry.manifest.tables import slice_
from medferry.source.database import snapshot, stream
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
    dialect = environment.source.dialect.name
    statement, values = rows_of(dialect, entity, mine.units, mine.low, mine.high, options.sample)
    with snapshot(environment.source) as source:
        rows = environment.staging(run_id).write_rows(slice_id, stream(source, statement, values))
    with environment.manifest.begin() as connection:
        # What was extracted is what must be accounted for; verify counts the source again by itself.
        this = sa.and_(slice_.c.run_id == run_id, slice_.c.id == slice_id)
        connection.execute(sa.update(slice_).where(this).values(eligible=rows))
        runs.set_stage(connection, run_id, slice_id, "extracted")
    return rows
