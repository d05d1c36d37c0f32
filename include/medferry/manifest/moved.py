"""Records that have moved to another business unit, whose run is at work or has decided them since.

Leases are by unit and entity: two runs at work at once can have the same record, when its row moves between the reading
of one and of the other.
"""

from __future__ import annotations

import sqlalchemy as sa

from medferry.manifest.clock import clock
from medferry.manifest.runs import RunRow, SliceRow
from medferry.manifest.tables import lease, run, source_record, unit_state
from medferry.mapping.outcomes import Disposition


def moved_keys(connection: sa.Connection, of: RunRow, slice_: SliceRow) -> list[str]:
    """The pending records of a slice that another run at work has a line of, or that a later run has decided.

    Each run writes its lines before it loads, and asks before it loads: of two, one at least sees the other.
    """
    ours = source_record.alias("ours")
    pending = (
        ours.c.run_id == of.id,
        ours.c.slice_id == slice_.id,
        ours.c.disposition == Disposition.PENDING,
    )
    others = sa.select(lease.c.run_id).where(
        lease.c.migration == of.migration, lease.c.run_id != of.id, lease.c.expires_at > clock(connection)
    )
    at_work = sorted(set(connection.execute(others).scalars()))
    found: set[str] = set()
    if at_work:
        theirs = sa.and_(
            source_record.c.run_id.in_(at_work),
            source_record.c.entity == ours.c.entity,
            source_record.c.key == ours.c.key,
        )
        found.update(connection.execute(sa.select(ours.c.key).join(source_record, theirs).where(*pending)).scalars())
    later = sa.and_(run.c.migration == of.migration, run.c.started_at > of.started_at)
    if connection.scalar(sa.select(run.c.id).where(later).limit(1)) is not None:
        decided = sa.and_(
            unit_state.c.migration == of.migration,
            unit_state.c.entity == ours.c.entity,
            unit_state.c.key == ours.c.key,
        )
        statement = sa.select(ours.c.key).join(unit_state, decided).join(run, run.c.id == unit_state.c.run_id)
        found.update(connection.execute(statement.where(*pending, later)).scalars())
    return sorted(found)
