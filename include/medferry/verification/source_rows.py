"""Source rows: each reads as it did when what Medplum has was made from it, in all its columns, compared or not.

A check says which columns are compared; of the others only the row's digest tells that they have changed since.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from more_itertools import chunked

from medferry.manifest.unit_state import digests_of
from medferry.runtime.staging import dump_row, row_digest
from medferry.source.database import snapshot, stream
from medferry.source.lookup import stream_keys
from medferry.source.slices import rows_of, units_held
from medferry.verification.recorder import CheckRecorder
from medferry.verification.scope import VerificationScope

AS_LOADED = "source rows: as loaded"
CHANGED = "changed since loaded"

REMEDY = (
    "Their columns, or the entity's SQL, read otherwise than what was loaded: `medferry run` (or `medferry sync`) "
    "loads them again."
)
_UNKNOWN = "What they were loaded from was not kept: the next run, or synchronisation, loads them again."
_ROWS_AT_ONCE = 1_000


def examine_source_rows(scope: VerificationScope, entity: str, recorder: CheckRecorder) -> None:
    """Compare the digest of each row that has a record with the one that its record was decided from.

    Whichever run decided it last, as what Medplum has is of that one. A row without a record is told by the keys.
    Raises SourceUnavailable, SourceError.
    """
    recorder.expect(AS_LOADED)
    changed = False
    for rows in chunked(_rows(scope, entity), _ROWS_AT_ONCE):
        present = [(scope.migration.entities[entity].ledger_key_of(row), row_digest(dump_row(row))) for row in rows]
        with scope.environment.manifest.begin() as connection:
            loaded = digests_of(connection, scope.migration.name, entity, {key for key, _ in present})
        changed |= _judge(present, loaded, recorder)
    if changed:
        recorder.expect(AS_LOADED, REMEDY)


def _judge(present: Sequence[tuple[str, str]], loaded: Mapping[str, str], recorder: CheckRecorder) -> bool:
    """Whether any has changed."""
    changed = False
    for key, digest in present:
        if key not in loaded:
            continue
        if not loaded[key]:
            recorder.unchecked(AS_LOADED, 1, _UNKNOWN, key)
        else:
            same = loaded[key] == digest
            changed |= not same
            recorder.judge(AS_LOADED, key, "", None if same else CHANGED)
    return changed


def _rows(scope: VerificationScope, entity: str) -> Iterator[dict[str, Any]]:
    """The entity's rows in the subject's units, or of its keys, as the extraction reads them."""
    of, units = scope.migration.entities[entity], sorted(scope.units[entity])
    with snapshot(scope.environment.source) as connection:
        if entity in scope.keys:
            yield from stream_keys(connection, of, units, sorted(scope.keys[entity]))
        else:
            held = units_held(connection, of, units)
            statement, values = rows_of(connection.dialect.name, of, held, None, None)
            yield from stream(connection, statement, values)
