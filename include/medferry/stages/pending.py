"""The pending source records of a slice, as they were staged, in chunks of whole records."""

from __future__ import annotations

from collections.abc import Iterator, Set
from itertools import groupby

from more_itertools import constrained_batches

from medferry.apply.targets import LoadRecord, staged_resource
from medferry.manifest.runs import SliceRow
from medferry.runtime.staging import Staging

CHUNK_TARGETS = 400
"""Targets a chunk, unless a batch holds more: enough for one look-up, few enough that all lanes have work."""

Chunk = tuple[LoadRecord, ...]


def pending_chunks(staging: Staging, slice_: SliceRow, pending: Set[str], batch_size: int) -> Iterator[Chunk]:
    """The slice's source records among `pending`, in staged order. Raises StagingError."""
    size = max(CHUNK_TARGETS, batch_size)
    return constrained_batches(_records(staging, slice_, pending), size, get_len=_resources, strict=False)


def _records(staging: Staging, slice_: SliceRow, pending: Set[str]) -> Iterator[LoadRecord]:
    for number in range(slice_.bundles if pending else 0):  # of a proven run, none is there
        for key, entries in groupby(staging.read_bundle(slice_.id, number), key=lambda staged: staged.name[1]):
            if key in pending:
                yield LoadRecord(key, tuple(staged_resource(staged) for staged in entries))


def _resources(record: LoadRecord) -> int:
    """How much a record adds to a chunk; one that has more than a chunk holds is a chunk of its own."""
    return len(record.resources)
