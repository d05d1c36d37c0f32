"""Slices of given source keys: of a replay's dead letters, of a cut's changes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from medferry.definition.migration import Migration
from medferry.manifest.kinds import RunKind
from medferry.manifest.runs import RunRow, SliceRow
from medferry.runtime.options import RunOptions
from medferry.source.slices import SliceSpec
from medferry.stages.prepare import RunScope

Keys = Mapping[str, Mapping[str, Collection[str]]]
"""Entity → source key → the business units that its row had or has."""


def scope_of_keys(migration: Migration, keys: Keys) -> RunScope:
    """The units and entities of some keys, in the plan's order."""
    units = {unit for by_key in keys.values() for of_key in by_key.values() for unit in of_key}
    in_order = [name for level in migration.levels for name in level]
    return RunScope(
        [unit for unit in migration.plan.unit_ids if unit in units], [name for name in in_order if keys.get(name)]
    )


def slices_of_keys(migration: Migration, keys: Keys, rows_per_slice: int) -> Iterator[tuple[int, SliceSpec]]:
    """(level, slice) of all of them, each key in one slice."""
    for name in scope_of_keys(migration, keys).entities:
        of_entity = list(keys[name])
        # Rows that refer to rows of their own entity need one loader that sees them all.
        size = len(of_entity) if name in migration.specs[name].references else rows_per_slice
        for start in range(0, len(of_entity), size):
            chosen = tuple(of_entity[start : start + size])
            units = {unit for key in chosen for unit in keys[name][key]}
            yield migration.level_of(name), SliceSpec(name, tuple(sorted(units)), None, None, len(chosen), chosen)


def stop_share(run: RunRow, slice_: SliceRow, options: RunOptions) -> float:
    """The share of failures at which a slice stops: of keys that were chosen because they failed or changed, never."""
    chosen = slice_.keys is not None and not run.kind.startswith(RunKind.HISTORY)
    return 1.0 if chosen else options.stop_at_share
