"""Leave a row alone that was inserted for a resource which lacks the row's identifier still: see ``manifest.births``.

The load would find nothing under the identifier, and create a second resource. The line of `medferry_born` tells it,
whatever has become of the note: it is committed with the row, and outlives a manifest.
"""

from __future__ import annotations

from collections.abc import Collection

from medferry.fhir.references import by_type
from medferry.manifest.births import open_births
from medferry.manifest.crosswalk import find_targets
from medferry.manifest.replaced import known_ids
from medferry.manifest.runs import SliceRow
from medferry.manifest.source_records import DispositionChange, pending_keys, set_dispositions
from medferry.mapping.outcomes import Disposition, Reason
from medferry.medplum.client import MedplumClient
from medferry.runtime.environment import Environment
from medferry.runtime.hold import Hold
from medferry.source.births import BornLine, lines_of_keys
from medferry.source.database import snapshot


def leave_born(hold: Hold, slice_: SliceRow, client: MedplumClient | None) -> int:
    """Quarantine the slice's pending records whose resources are not adopted; returns how many.

    The next cycle adopts them, and takes them up again.
    Raises LeaseLost, SourceUnavailable, MedplumUnavailable, Unauthorised.
    """
    environment = hold.environment
    inverse = environment.migration.inverses.get(slice_.entity)
    with environment.manifest.begin() as connection:
        notes = {note.place for note in open_births(connection, environment.migration.name, entity=slice_.entity)}
        born = bool(notes) or (inverse is not None and inverse.births is not None)
        pending = pending_keys(connection, hold.run.id, slice_.id) if born else set()
    if not pending:
        return 0
    with snapshot(environment.source) as view:
        lines = lines_of_keys(view, slice_.entity, pending).values()
    left = [line for line in lines if line.place in notes]
    left += not_adopted(environment, client, [line for line in lines if line.place not in notes])
    if not left:
        return 0
    changes = [DispositionChange(key, Disposition.QUARANTINED, Reason.BORN_IN_MEDPLUM) for key in _keys(left)]
    with hold.writing() as connection:
        set_dispositions(connection, hold.run.id, slice_.entity, changes)
    return len(changes)


def not_adopted(environment: Environment, client: MedplumClient | None, lines: Collection[BornLine]) -> list[BornLine]:
    """Those of some lines whose resources are in Medplum, and that the crosswalk neither has nor had.

    Also those that were deleted, where the crosswalk has nothing in their place. What Medplum does not know (404) is of
    another one, as a rehearsal's; without a client it is not asked.
    Raises MedplumUnavailable, Unauthorised.
    """
    migration, known = environment.migration, set[tuple[str, str]]()
    with environment.manifest.begin() as connection:
        for kind, ids in by_type(line.place for line in lines).items():
            known |= {(kind, medplum_id) for medplum_id in known_ids(connection, migration.name, kind, sorted(ids))}
        strange = {line: (migration.naming.system(line.entity, line.slot), line.key) for line in lines
                   if line.place not in known}  # fmt: skip
        taken = find_targets(connection, migration.name, strange.values())
    if not strange or client is None:
        return list(strange)
    gone: set[str] = set()
    there = client.read_each(sorted(line.place for line in strange), gone)
    return [
        line
        for line, name in strange.items()
        if line.medplum_id in there or (line.medplum_id in gone and name not in taken)
    ]


def _keys(lines: Collection[BornLine]) -> list[str]:
    return sorted(line.key for line in lines)
