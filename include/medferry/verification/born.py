"""What users created in Medplum has its row, and its resource is the one that the row was inserted for.

The line of `medferry_born` tells which that is. Another one that the row became since is its double. What has no row is
what the synchronisation has held back.
"""

from __future__ import annotations

from collections.abc import Sequence

from more_itertools import chunked

from medferry.errors import MedferryError
from medferry.manifest.crosswalk import find_targets
from medferry.manifest.held_back import held_back_of
from medferry.manifest.replaced import known_ids
from medferry.manifest.subject import records_by_key
from medferry.mapping.outcomes import Disposition
from medferry.medplum.client import MedplumClient
from medferry.source.births import BornLine, lines_of_entity
from medferry.source.database import snapshot
from medferry.verification.recorder import CheckRecorder
from medferry.verification.scope import VerificationScope

BORN, NO_ROW = "births: the resource of the row", "births: a row"
ANOTHER, NOT_KNOWN = "another resource", "not in the manifest"
_AT_ONCE = 1_000


def examine_born(scope: VerificationScope, client: MedplumClient, entity: str, recorder: CheckRecorder) -> None:
    """Hold each line of an entity that takes births against the crosswalk; without lines there is no result.

    Of a run its rows are verified: what has none is told of the present alone.
    """
    if scope.run is None and not scope.keys:
        _without_rows(scope, entity, recorder)
    inverse = scope.migration.inverses.get(entity)
    if inverse is None or inverse.births is None:
        return
    try:
        with snapshot(scope.environment.source) as view:
            lines = list(lines_of_entity(view, entity).values())
        for some in chunked(lines, _AT_ONCE):
            _judge(scope, client, entity, some, recorder)
    except MedferryError as error:
        recorder.unchecked(BORN, 1, error.problem)


def _without_rows(scope: VerificationScope, entity: str, recorder: CheckRecorder) -> None:
    units = scope.units[entity]
    with scope.environment.manifest.begin() as connection:
        held = held_back_of(connection, scope.migration.name, units)
    for one in held:
        if one.is_birth and one.entity == entity and one.unit in units:
            recorder.named.add(one.key)  # Type/id
            recorder.different(NO_ROW, one.key, one.path, one.reason)


def _judge(
    scope: VerificationScope, client: MedplumClient, entity: str, lines: Sequence[BornLine], recorder: CheckRecorder
) -> None:
    """A row that is not loaded has no resource to be judged, and of one that was made anew it is another by right.

    So it is in another Medplum than the one for which the rows were inserted, as a rehearsal's.
    """
    systems = scope.systems(entity)
    with scope.environment.manifest.begin() as connection:
        records = records_by_key(connection, scope.records, entity, [line.key for line in lines])
        names = {line: (systems[line.slot], line.key) for line in lines if line.slot in systems}
        known = find_targets(connection, scope.migration.name, names.values())
        ids = {
            kind: known_ids(connection, scope.migration.name, kind, [line.medplum_id for line in lines])
            for kind in {line.resource_type for line in lines}
        }
    strange = dict[BornLine, str]()
    for line, name in names.items():
        record, entry = records.get(line.key), known.get(name)
        if (
            record is None
            or record.unit not in scope.units[entity]
            or line.key not in scope.keys.get(entity, {line.key})
        ):
            continue
        if entry is not None and entry.medplum_id == line.medplum_id:
            recorder.equal(BORN)
        elif line.medplum_id not in ids[line.resource_type] and (entry or record.disposition == Disposition.SUCCESSFUL):
            strange[line] = ANOTHER if entry else NOT_KNOWN
    there = client.read_each(sorted(line.place for line in strange)) if strange else {}
    for line, kind in strange.items():
        if line.medplum_id in there:
            recorder.different(BORN, line.key, line.slot, kind, "/".join(line.place))
