"""Replay: run the dead letters of an earlier run again, exactly those, as a new run whose slices hold their keys.

What a later run has settled is not run again. The earlier run's ledger stays as it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa

from medferry.manifest import runs
from medferry.manifest.dead_letters import Choice, dead_letter_groups, dead_letters, newest_with_dead_letters
from medferry.manifest.kinds import RunKind
from medferry.manifest.run_names import run_called
from medferry.manifest.runs import RunRow, SliceRow
from medferry.manifest.source_records import GONE, SourceRecord, units_of
from medferry.manifest.unit_state import states_of
from medferry.mapping.outcomes import Disposition
from medferry.runtime.environment import Environment
from medferry.runtime.options import RunOptions
from medferry.source.database import snapshot
from medferry.source.lookup import units_of_keys
from medferry.stages.key_slices import Keys, scope_of_keys, slices_of_keys
from medferry.stages.prepare import ScopeError, begin, continued

_Letters = dict[str, dict[str, str]]
"""Entity → source key → business unit."""


def anything_to_replay(environment: Environment, run_id: str, replays: str | None, choice: Choice) -> bool:
    """True when ``prepare_replay`` would return slices. Raises UnknownRun."""
    with environment.manifest.begin() as connection:
        if runs.find_run(connection, run_id) is not None:
            return True
        of = _replayed(connection, environment, replays, choice)
        return bool(dead_letter_groups(connection, environment.migration.name, of.id, replace(choice, still=True)))


def prepare_replay(
    environment: Environment, run_id: str, replays: str | None, choice: Choice, options: RunOptions
) -> list[SliceRow]:
    """Write a run of the dead letters of `replays` (None: the newest run with any).

    The same `run_id` again returns it as it is.

    Empty, and no run is written, when there is nothing to replay. Raises UnknownRun, ScopeError when the migration does
    not fit any more, LeaseHeld when another run works on any of their units and entities, NotContinued.
    """
    found = continued(environment, run_id, options)
    if found is not None:
        return found
    with environment.manifest.begin() as connection:
        of = _replayed(connection, environment, replays, choice)
    _check(of, options)
    letters = _letters(environment, of.id, choice)
    if not letters:
        return []
    keys = _with_present_units(environment, letters)
    scope = scope_of_keys(environment.migration, keys)
    slices = list(slices_of_keys(environment.migration, keys, options.slice_rows))
    return begin(environment, run_id, RunKind.REPLAY, scope, options, slices, replays=of.id)


def _replayed(connection: sa.Connection, environment: Environment, replays: str | None, choice: Choice) -> RunRow:
    """The run that was named; else the newest that has left something dead, or, where nothing is, the newest."""
    name = environment.migration.name
    if replays:
        return run_called(connection, name, replays)
    with_letters = newest_with_dead_letters(connection, name, choice)
    return runs.get_run(connection, with_letters) if with_letters else runs.newest_run(connection, name)


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


def _with_present_units(environment: Environment, letters: _Letters) -> Keys:
    """Beside the unit that each had, the one that its row has in the source now. Raises ScopeError."""
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
    return {
        name: {key: {unit, now[name].get(key, unit)} for key, unit in by_key.items()}
        for name, by_key in letters.items()
    }


def gone_records(
    connection: sa.Connection, run: RunRow, slice_: SliceRow, version: str, keys: Sequence[str]
) -> list[SourceRecord]:
    """Ledger lines for keys that their units no longer have: skipped, in the unit they had. None is lost."""
    if not keys:
        return []
    had = {key: state.unit for key, state in states_of(connection, run.migration, slice_.entity, keys).items()}
    if run.replays:
        had |= units_of(connection, run.replays, slice_.entity, keys)
    # One that no run has decided was there when the keys were chosen, in a unit of the slice.
    units = {key: had.get(key, slice_.units[0]) for key in keys}
    return [SourceRecord(slice_.entity, key, units[key], slice_.id, Disposition.SKIPPED, version, GONE) for key in keys]
