"""Leave a record to the other run that has it: see ``manifest.moved``."""

from __future__ import annotations

from medferry.manifest.moved import moved_keys
from medferry.manifest.runs import SliceRow
from medferry.manifest.source_records import DispositionChange, set_dispositions
from medferry.mapping.outcomes import Disposition, Reason
from medferry.runtime.hold import Hold


def leave_moved(hold: Hold, slice_: SliceRow) -> int:
    """Quarantine the slice's pending records that another run has; returns how many. The next run takes them up again.

    Raises LeaseLost.
    """
    with hold.writing() as connection:
        keys = moved_keys(connection, hold.run, slice_)
        changes = [DispositionChange(key, Disposition.QUARANTINED, Reason.AT_WORK_ELSEWHERE) for key in keys]
        set_dispositions(connection, hold.run.id, slice_.entity, changes)
    return len(keys)
