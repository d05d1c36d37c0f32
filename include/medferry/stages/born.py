"""Leave a row alone that was inserted for a resource which lacks the row's identifier still: see ``manifest.births``.

The load would find nothing under the identifier, and create a second resource. A note is older than its row, and closed
together with the crosswalk's line: a row that was read is of a note that is read now, or the crosswalk has it.
"""

from __future__ import annotations

from medferry.manifest.births import open_births
from medferry.manifest.runs import SliceRow
from medferry.manifest.source_records import DispositionChange, pending_keys, set_dispositions
from medferry.mapping.outcomes import Disposition, Reason
from medferry.runtime.hold import Hold
from medferry.source.births import find_born
from medferry.source.database import snapshot


def leave_born(hold: Hold, slice_: SliceRow) -> int:
    """Quarantine the slice's pending records of open notes; returns how many. The next cycle takes them up again.

    Raises LeaseLost, SourceUnavailable.
    """
    environment = hold.environment
    with environment.manifest.begin() as connection:
        notes = open_births(connection, environment.migration.name, entity=slice_.entity)
        pending = pending_keys(connection, hold.run.id, slice_.id) if notes else set()
    if not pending:
        return 0
    with snapshot(environment.source) as view:
        keys = {line.key for line in find_born(view, [note.place for note in notes]).values()} & pending
    changes = [DispositionChange(key, Disposition.QUARANTINED, Reason.BORN_IN_MEDPLUM) for key in sorted(keys)]
    with hold.writing() as connection:
        set_dispositions(connection, hold.run.id, slice_.entity, changes)
    return len(changes)
