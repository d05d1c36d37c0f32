"""Prepare a run of one period: what is dated in it, with all that this refers to.

An entity without a date has no period. Its records come with the first run that finds them undecided: all of them in
the first of all (patients before their charts), in a later one what has come since. So no order of the periods, no
killed run and no new row leaves one out.

What is dated may refer to what is dated otherwise (a result to a visit of the month before). Newest first, that is not
loaded yet: it is taken along, as the rows' own mapping says, and found unchanged when its period comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import sqlalchemy as sa

from medferry.definition.migration import Migration
from medferry.fhir.references import parse_conditional, references
from medferry.manifest import leases, runs
from medferry.manifest.database import create_manifest
from medferry.manifest.runs import RunStatus, SliceRow
from medferry.manifest.subject import Records, present_keys
from medferry.manifest.unit_state import states_of
from medferry.mapping.apply import apply_mapping
from medferry.mapping.declare import Row
from medferry.mapping.outcomes import Disposition
from medferry.plan.periods import Period
from medferry.runtime.environment import Environment
from medferry.runtime.legacy_home import keep_first
from medferry.runtime.options import RunOptions
from medferry.source.columns import check_columns
from medferry.source.count import count_by_unit
from medferry.source.database import snapshot
from medferry.source.dated import keys_of_period
from medferry.source.keys import fault_of
from medferry.source.lookup import stream_keys, units_of_keys
from medferry.source.slices import SliceSpec
from medferry.stages.key_slices import slices_of_keys
from medferry.stages.prepare import RunScope, ScopeError, begin, continued, slices_of_entity

ByEntity = dict[str, set[str]]
"""Entity → source keys."""


def prepare_period(
    environment: Environment, run_id: str, kind: str, scope: RunScope, period: Period, options: RunOptions
) -> list[SliceRow]:
    """Write a run of a period; the same `run_id` again returns it as it is. Empty, and no run, when there is nothing.

    Raises LeaseHeld, NotContinued, SourceError; ScopeError for a sample.
    """
    create_manifest(environment.settings.manifest_url)
    found = continued(environment, run_id, options)
    if found is not None:
        return found
    if options.sample is not None:
        raise ScopeError("A period has no sample: it is for exactly its rows.", "Leave the sample out.")
    if options.take_over and not options.dry_run:
        _end_dead_runs(environment, kind)
    with snapshot(environment.source) as view:
        slices = _PeriodCut(environment, scope, period, options, view).slices()
        if slices and not options.dry_run:
            keep_first(environment, view)
    if not slices:
        return []
    named = {spec.entity for _, spec in slices}
    own = RunScope(scope.units, [name for name in scope.entities if name in named])
    return begin(environment, run_id, kind, own, options, slices)


def _end_dead_runs(environment: Environment, kind: str) -> None:
    """Take over what dead runs of other periods hold: also the entities of which this one has no record, as its records
    refer to theirs.
    """
    with environment.manifest.begin() as connection:
        for dead in runs.running_of_kind(connection, environment.migration.name, kind):
            runs.finish_run(connection, dead, RunStatus.FAILED)
            leases.release(connection, dead)


def anything_in_period(environment: Environment, run_id: str, scope: RunScope, period: Period) -> bool:
    """Whether `prepare_period` would return slices."""
    create_manifest(environment.settings.manifest_url)
    with environment.manifest.begin() as connection:
        if runs.find_run(connection, run_id) is not None:
            return True
    with snapshot(environment.source) as view:
        return _PeriodCut(environment, scope, period, RunOptions(), view).anything()


@dataclass
class _PeriodCut:
    """The slices of a period's run, from one view of the legacy database."""

    environment: Environment
    scope: RunScope
    period: Period
    options: RunOptions
    view: sa.Connection
    wanted: ByEntity = field(default_factory=dict)
    """Records of dated entities that others refer to."""

    @property
    def migration(self) -> Migration:
        return self.environment.migration

    @cached_property
    def dated(self) -> set[str]:
        return {name for name in self.scope.entities if self.migration.entities[name].dated}

    def anything(self) -> bool:
        dated = (name for name in self.scope.entities if name in self.dated)
        undated = (name for name in self.scope.entities if name not in self.dated)
        return any(self._of_period(name, 1) for name in dated) or any(self._undecided(name) for name in undated)

    def slices(self) -> list[tuple[int, SliceSpec]]:
        """(level, slice), from those that refer to others down to those that nothing refers to first."""
        keys: dict[str, Mapping[str, set[str]]] = {}
        whole: list[tuple[int, SliceSpec]] = []
        for name in reversed(self.scope.entities):
            self._check(name)
            if name in self.dated:
                keys[name] = self._with_referred(name)
            elif self._begun(name):
                keys[name] = {key: {unit} for key, unit in self._undecided(name).items()}
            else:
                whole += slices_of_entity(self.environment, self.view, name, self.scope.units, self.options.slice_rows)
        return [*whole, *slices_of_keys(self.migration, keys, self.options.slice_rows)]

    def _check(self, name: str) -> None:
        """Judge the source as a whole run does, once: before the first record of an entity is loaded."""
        entity = self.migration.entities[name]
        check_columns(self.view, entity)
        if not self._begun(name):
            count_by_unit(self.view, entity, self.migration.plan.unit_ids)

    def _begun(self, name: str) -> bool:
        """Whether a run has decided any record of an entity."""
        return any(self._known(name))

    def _known(self, name: str) -> Iterator[str]:
        """The keys of an entity's records that a run has decided."""
        records = Records(self.migration.name, units=self.scope.units)
        for page in present_keys(self.environment.manifest, records, name):
            yield from page

    def _of_period(self, name: str, limit: int | None = None) -> dict[str, str]:
        return keys_of_period(self.view, self.migration.entities[name], self.scope.units, self.period, limit)

    def _undecided(self, name: str) -> dict[str, str]:
        known = set(self._known(name))
        return {key: unit for key, unit in self._of_period(name).items() if key not in known}

    def _with_referred(self, name: str) -> dict[str, set[str]]:
        """Key → unit of a dated entity's records: those of the period, and those that others refer to."""
        found: dict[str, set[str]] = {}
        due = self._of_period(name) | self._referred(name, self.wanted.pop(name, set()))
        while due:
            found |= {key: {unit} for key, unit in due.items()}
            if not self.dated & {*self.migration.specs[name].references}:
                break
            self._note_references(name, list(due))
            own = self.wanted.pop(name, set()) - found.keys()  # those that refer to rows of their own entity
            due = self._referred(name, own)
        return found

    def _referred(self, name: str, keys: set[str]) -> dict[str, str]:
        """Key → unit of those of `keys` that are the scope's and not in Medplum yet."""
        with self.environment.manifest.begin() as connection:
            states = states_of(connection, self.migration.name, name, keys)
        due = [key for key in keys if key not in states or states[key].disposition != Disposition.SUCCESSFUL]
        units = units_of_keys(self.view, self.migration.entities[name], due)
        return {key: unit for key, unit in units.items() if unit in self.scope.units}

    def _note_references(self, name: str, keys: list[str]) -> None:
        rows = stream_keys(self.view, self.migration.entities[name], self.scope.units, keys)
        for entity, key in referred(self.migration, name, rows):
            if entity in self.dated:
                self.wanted.setdefault(entity, set()).add(key)


def referred(migration: Migration, name: str, rows: Iterable[Row]) -> Iterator[tuple[str, str]]:
    """(entity, key) of every record that rows of an entity refer to, as their mapping says.

    What refers by a system that is no entity's, or to a key that no row can have, is left for the load to tell of.
    """
    entity, spec = migration.entities[name], migration.specs[name]
    owners = {system: owner for owner, systems in migration.systems.items() for system in systems}
    for row in rows:
        key = entity.key_of(row)
        if key is None or fault_of(key) is not None:
            continue
        for resource in apply_mapping(spec, row, key, migration.settings).resources:
            for reference in references(resource):
                if parsed := parse_conditional(reference["reference"]):
                    _, system, value = parsed
                    if (owner := owners.get(system)) and fault_of(value) is None:
                        yield owner, value
