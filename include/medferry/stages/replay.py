"""Replay: run the dead letters of an earlier run again, exactly those, as a new run whose slices hold their keys.

What a later run has settled is not run again. The earlier run's ledger stays as it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

import sqlalchemy as sa

from medferry.manifest import runs
from medferry.manifest.dead_letters import Choice, dead_letter_groups, dead_letters
from medferry.manifest.runs import RunKind, RunRow, SliceRow
from medferry.manifest.source_records import GONE, SourceRecord, units_of
from medferry.mapping.outcomes import Disposition
from medferry.runtime.environment import Environment
from medferry.runtime.options import RunOptions
from medferry.source.database import snapshot
from medferry.source.lookup import units_of_keys
from medferry.source.slices import SliceSpec
from medferry.stages.prepare import RunScope, ScopeError, begin, continued

_Letters = dict[str, dict[str, str]]
"""Entity → source key → business unit."""


def anything_to_replay(environment: Environment, run_id: str, replays: str | None, choice: Choice) -> bool:
    """True when ``prepare_replay`` would return slices. Raises UnknownRun."""
    with environment.manifest.begin() as connection:
        if runs.find_run(connection, run_id) is not None:
            return True
        of = _replayed(connection, environment, replays)
        return bool(dead_letter_groups(connection, environment.migration.name, of.id, replace(choice, still=True)))


def prepare_replay(
    environment: Environment, run_id: str, replays: str | None, choice: Choice, options: RunOptions
) -> list[SliceRow]:
    """Write a run of the dead letters of `replays` (None: the newest run); the same `run_id` again returns it as it is.

    Empty, and no run is written, when there is nothing to replay. Raises UnknownRun, ScopeError when the migration does
    not fit any more, LeaseHeld when another run works on any of their units and entities, NotContinued.
    """
    found = continued(environment, run_id, options)
    if found is not None:
        return found
    with environment.manifest.begin() as connection:
        of = _replayed(connection, environment, replays)
    _check(of, options)
    letters = _letters(environment, of.id, choice)
    if not letters:
        return []
    now = _present_units(environment, letters)
    scope = _scope(environment, letters, now)
    slices = list(_slices(environment, scope, letters, now, options.slice_rows))
    return begin(environment, run_id, RunKind.REPLAY, scope, options, slices, replays=of.id)


def _replayed(connection: sa.Connection, environment: Environment, replays: str | None) -> RunRow:
    if replays is not None:
        return runs.get_run(connection, replays)
    return runs.newest_run(connection, environment.migration.name)


def _check(of: RunRow, options: RunOptions) -> None:
    if options.sample is not None:
        raise ScopeError("A replay has no sample: it runs exactly the rows it is for.", "Leave the sample out.")
    if of.options.get("dry_run") and not options.dry_run:
        raise ScopeError(
            f"Run {of.id} was a dry run: what its dead letters refer to is not in Medplum.",
            "Replay it as a dry run, name another run, or start a whole run.",
        )


def _letters(environment: Environment, run_id: str, choice: Choice) -> _Letters:
    """The dead letters that no later run has settled. Raises ScopeError for an entity that is gone."""
    migration = environment.migration
    letters: _Letters = defaultdict(dict)
    still = replace(choice, still=True)
    for letter in dead_letters(environment.manifest, migration.name, migration.systems, run_id, still):
        letters[letter.entity][letter.key] = letter.unit
    if unknown := sorted(letters.keys() - migration.entities.keys()):
        raise ScopeError(
            f"The migration has no entity {', '.join(unknown)} any more.", "Choose the entities to be replayed."
        )
    return letters


def _present_units(environment: Environment, letters: _Letters) -> _Letters:
    """The units that the rows have in the source now; rows that are gone are left out. Raises ScopeError."""
    with snapshot(environment.source) as source:
        now = {
            name: units_of_keys(source, environment.migration.entities[name], list(keys))
            for name, keys in letters.items()
        }
    known = set(environment.migration.plan.unit_ids)
    if strays := sorted({unit for units in now.values() for unit in units.values()} - known):
        raise ScopeError(
            f"Rows to be replayed belong to units that the plan does not name: {', '.join(strays[:10])}.",
            "Add the units to the plan, or leave the rows out in the entity's SQL.",
        )
    return now


def _scope(environment: Environment, letters: _Letters, now: _Letters) -> RunScope:
    """The units that the rows had or have, and their entities, in the plan's order."""
    units = {
        unit
        for letters_by_entity in (letters, now)
        for by_key in letters_by_entity.values()
        for unit in by_key.values()
    }
    in_order = [name for level in environment.migration.levels for name in level]
    plan = environment.migration.plan
    return RunScope([unit for unit in plan.unit_ids if unit in units], [name for name in in_order if name in letters])


def _slices(
    environment: Environment, scope: RunScope, letters: _Letters, now: _Letters, rows_per_slice: int
) -> Iterator[tuple[int, SliceSpec]]:
    migration = environment.migration
    for name in scope.entities:
        keys = list(letters[name])
        # Rows that refer to rows of their own entity need one loader that sees them all.
        size = len(keys) if name in migration.specs[name].references else rows_per_slice
        for start in range(0, len(keys), size):
            chosen = tuple(keys[start : start + size])
            units = {unit for key in chosen for unit in (letters[name][key], now[name].get(key)) if unit}
            spec = SliceSpec(name, tuple(sorted(units)), None, None, len(chosen), chosen)
            yield migration.level_of(name), spec


def gone_records(
    connection: sa.Connection, run: RunRow, slice_: SliceRow, version: str, keys: Sequence[str]
) -> list[SourceRecord]:
    """Ledger lines for replayed keys that the source no longer has: skipped, in the unit they had. None is lost."""
    had = units_of(connection, run.replays, slice_.entity, keys)
    return [SourceRecord(slice_.entity, key, had[key], slice_.id, Disposition.SKIPPED, version, GONE) for key in keys]
