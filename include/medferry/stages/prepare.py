"""Prepare a run: count what is eligible, cut it into slices, take the leases, write it all down."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from medferry.definition.migration import Migration
from medferry.errors import MedferryError
from medferry.manifest import leases, runs
from medferry.manifest.database import create_manifest
from medferry.manifest.runs import RunExists, RunRow, RunStatus, SliceRow
from medferry.runtime.continuing import check_options, check_scope
from medferry.runtime.environment import Environment, hold_run, lease_scopes, scopes_of
from medferry.runtime.legacy_home import keep_first
from medferry.runtime.options import RunOptions
from medferry.source.columns import check_columns
from medferry.source.count import count_by_unit
from medferry.source.database import snapshot
from medferry.source.slices import SliceSpec, cut
from medferry.stages.same_keys import check_keys


class ScopeError(MedferryError):
    """The units or entities asked for do not fit the plan."""


@dataclass(frozen=True, slots=True)
class RunScope:
    """What a run covers, in the plan's order. Shared units are always in it."""

    units: list[str]
    entities: list[str]


def scope_of(migration: Migration, units: Sequence[str] | None, entities: Sequence[str] | None) -> RunScope:
    """Complete a choice of units and entities (None or empty: all). Raises ScopeError naming the unknown ones."""
    plan = migration.plan
    unknown = sorted({*(units or [])} - {*plan.unit_ids}) + sorted({*(entities or [])} - {*migration.entities})
    if unknown:
        raise ScopeError(
            f"The plan knows no {', '.join(unknown)}.", "List units and entities with `medferry plan check`."
        )
    wanted = {*units, *plan.shared_units} if units else {*plan.unit_ids}
    in_order = [name for level in migration.levels for name in level]
    return RunScope(
        [unit for unit in plan.unit_ids if unit in wanted],
        [name for name in in_order if not entities or name in entities],
    )


def prepare_run(
    environment: Environment, run_id: str, kind: str, scope: RunScope, options: RunOptions
) -> list[SliceRow]:
    """Write the run and its slices to the manifest; the same `run_id` again returns what is there already.

    A run that was begun before keeps its options: those that are set in `options` must be the same. The only stage that
    makes the manifest where there is none. Raises LeaseHeld when another run works on any of the scope, NotContinued
    (Renamed, where no row has a known key), SourceError when the source cannot be accounted for.
    """
    create_manifest(environment.settings.manifest_url)
    found = continued(environment, run_id, options, scope)
    if found is not None:
        return found
    if not (options.dry_run or options.take_over):  # before the legacy database is asked for anything
        with environment.manifest.begin() as connection:
            leases.refuse_held(
                connection, environment.migration.name, run_id, lease_scopes(scope.units, scope.entities)
            )
    slices = _cut_source(environment, scope, options)
    try:
        return begin(environment, run_id, kind, scope, options, slices)
    except RunExists:  # since it was looked for
        return prepare_run(environment, run_id, kind, scope, options)


def continued(
    environment: Environment, run_id: str, options: RunOptions, scope: RunScope | None = None
) -> list[SliceRow] | None:
    """The slices of a run that was prepared before, which is open again; None when there is no such run.

    Raises, and leaves the run as it was: LeaseHeld; NotContinued when its `scope` (None: any), the options that are set
    or the migration's files are not those it was started with, or a later run has begun in its scope.
    """
    with environment.manifest.begin() as connection:
        found = runs.find_run(connection, run_id)
        if found is None:
            return None
        hold_run(connection, environment.migration, found, options.take_over)
        check_options(found, options)
        if scope is not None:
            check_scope(found, scope.units, scope.entities)
        runs.reopen_run(connection, run_id)
        return runs.slices_of(connection, run_id)


def begin(
    environment: Environment,
    run_id: str,
    kind: str,
    scope: RunScope,
    options: RunOptions,
    slices: Iterable[tuple[int, SliceSpec]],
    replays: str = "",
    beside: Callable[[sa.Connection], None] = lambda _: None,
) -> list[SliceRow]:
    """Write a new run and its slices (level, slice) to the manifest, and take its leases.

    `beside` writes what must stand there in the same transaction. Raises LeaseHeld, RunExists.
    """
    migration = environment.migration
    row = RunRow(
        id=run_id,
        migration=migration.name,
        kind=kind,
        status=RunStatus.RUNNING,
        units=scope.units,
        entities=scope.entities,
        options=options.model_dump(mode="json"),
        fingerprint=migration.fingerprint,
        started_at="",
        finished_at=None,
        replays=replays,
    )
    with environment.manifest.begin() as connection:
        if not options.dry_run:
            leases.acquire(connection, migration.name, run_id, scopes_of(row), options.take_over)
        started_at = runs.time_of_new_run(connection, migration.name)
        runs.add_run(connection, replace(row, started_at=started_at), slices)
        beside(connection)
        return runs.slices_of(connection, run_id)


def _cut_source(environment: Environment, scope: RunScope, options: RunOptions) -> list[tuple[int, SliceSpec]]:
    with snapshot(environment.source) as view:
        slices = [
            slice_
            for name in scope.entities
            for slice_ in slices_of_entity(environment, view, name, scope.units, options.slice_rows)
        ]
        if not options.dry_run:
            for name in scope.entities:
                check_keys(environment, view, name, scope.units)
            keep_first(environment, view)
        return slices


def slices_of_entity(
    environment: Environment, view: sa.Connection, name: str, units: Sequence[str], rows_per_slice: int
) -> list[tuple[int, SliceSpec]]:
    """(level, slice) of all rows of an entity in some units. Raises SourceError when they cannot be accounted for."""
    migration = environment.migration
    entity, spec = migration.entities[name], migration.specs[name]
    check_columns(view, entity)
    counts = count_by_unit(view, entity, migration.plan.unit_ids)
    in_scope = {unit: rows for unit, rows in counts.items() if unit in units}
    # Rows that refer to rows of their own entity need one loader that sees them all.
    whole = name in spec.references
    return [(migration.level_of(name), each) for each in cut(view, entity, in_scope, rows_per_slice, whole)]
