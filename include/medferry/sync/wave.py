"""A wave that is kept in step: its units, its journal, and the right to be the only one that works at it."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property

import sqlalchemy as sa

from medferry.definition.inverses import takes_births
from medferry.errors import MedferryError, TransientError
from medferry.governance.authority import flipped
from medferry.manifest import checkpoints, leases, runs
from medferry.manifest.checkpoints import Checkpoint
from medferry.manifest.kinds import RunKind
from medferry.manifest.panics import check_no_panic
from medferry.manifest.runs import RunStatus
from medferry.manifest.slice_lock import SliceBusy, only_worker
from medferry.manifest.subject import Records, loaded_units, present_keys
from medferry.manifest.unit_state import RecordState, states_of
from medferry.plan.model import Plan
from medferry.plan.questions import wave_ids
from medferry.runtime.environment import Environment
from medferry.runtime.legacy_gate import legacy_gate
from medferry.source.changes.cuts import writing
from medferry.source.changes.engines import journal_of
from medferry.source.changes.journal import Journal
from medferry.source.gate.gate import GATE, GateState

_LOOK_SECONDS = 0.2
"""Between two looks whether a wave is free; a tail leaves it for longer between two cycles."""


class NoCapture(MedferryError):
    """The migration does not say how changes are found."""


class NoSuchWave(MedferryError):
    """The plan has no wave of that name."""


class NeverLoaded(MedferryError):
    """The wave has no state that changes could be added to."""


class NeverSwept(MedferryError):
    """Nothing says from where in the journal the wave's changes are to be taken."""


class SyncBusy(TransientError):
    """Another process keeps the same wave in step."""


@dataclass(frozen=True)
class SyncedWave:
    """One wave of the migration of an environment."""

    environment: Environment
    id: str
    through: frozenset[str] = frozenset()
    """Units whose closed gates the way back goes through: they are written in Medplum alone."""

    @cached_property
    def units(self) -> list[str]:
        """Its own business units and the shared ones, in the plan's order."""
        plan = self.environment.migration.plan
        return plan.units_of_wave(self.id) if plan.waves else plan.unit_ids

    @cached_property
    def journal(self) -> Journal:
        capture = self.environment.migration.capture
        if capture is None:
            raise NoCapture(
                f"The migration {self.environment.migration.name} has no capture.yaml.",
                "Write one: docs/runbooks/capture.md.",
            )
        return journal_of(
            self.environment.capture, capture.watched(), takes_births(self.environment.migration.inverses)
        )

    @cached_property
    def loaded(self) -> dict[str, set[str]]:
        """Entity → the business units that were ever loaded, of whatever wave."""
        with self.environment.manifest.begin() as connection:
            return loaded_units(connection, self.environment.migration.name)

    @property
    def is_begun(self) -> bool:
        """Whether anything of its own units was ever loaded; the shared ones come with any wave."""
        own = {*self.units} - {*self.environment.migration.plan.shared_units}
        return any(units & (own or {*self.units}) for units in self.loaded.values())

    def states(self, entity: str, keys: Collection[str]) -> dict[str, RecordState]:
        """What was last decided about some records of an entity."""
        if not keys:  # as of each entity, in each cycle of many that finds nothing
            return {}
        with self.environment.manifest.begin() as connection:
            return states_of(connection, self.environment.migration.name, entity, keys)

    def known_keys(self, entity: str) -> set[str]:
        """The keys of an entity's records in the wave's units, as far as they are known."""
        records = Records(self.environment.migration.name, units=self.units)
        return {key for page in present_keys(self.environment.manifest, records, entity) for key in page}

    @property
    def kind(self) -> str:
        """Of its runs."""
        return f"{RunKind.SYNC}_{self.id}"

    def new_run_id(self) -> str:
        return f"{self.kind}.{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"

    def newest(self) -> Checkpoint | None:
        with self.environment.manifest.begin() as connection:
            return checkpoints.newest(connection, self.environment.migration.name, self.id)

    def position(self) -> Checkpoint:
        """The checkpoint from which the next cut is taken. Raises NeverSwept."""
        found = self.newest()
        if found is None:
            raise NeverSwept(
                f"The wave {self.id} has no position in the journal of changes.",
                f"Run `medferry sweep {self.id}` once: it compares all rows with what was loaded, and begins there.",
            )
        if joined := self.joined(found):
            raise NeverSwept(
                f"The wave {self.id} was not kept in step with {', '.join(joined[:5])}: of what was changed there "
                "before it joined, its cuts have taken nothing.",
                f"Run `medferry sweep {self.id}` once: it brings what has gone by.",
            )
        return found

    def joined(self, newest: Checkpoint) -> list[str]:
        """Units that have joined the wave since its newest cut was made."""
        return [unit for unit in self.units if newest.units is not None and unit not in newest.units]

    @contextmanager
    def alone(self, patience: float = 0.0) -> Iterator[None]:
        """Be the only one of all processes that writes for the wave, after so many seconds at most.

        The lock dies with its process: leases that a killed one has left behind are given back.
        Raises SyncBusy, Panicked.
        """
        manifest, migration = self.environment.manifest, self.environment.migration.name
        with ExitStack() as held:
            self._lock(held, time.monotonic() + patience)
            with manifest.begin() as connection:
                check_no_panic(connection, migration)
                going_on = checkpoints.unfinished(connection, migration, self.id)
                for dead in runs.running_of_kind(connection, migration, self.kind):
                    if going_on is None or dead != going_on.run_id:
                        runs.finish_run(connection, dead, RunStatus.FAILED)
                        leases.release(connection, dead)
            yield

    def _lock(self, held: ExitStack, until: float) -> None:
        while True:
            try:
                held.enter_context(
                    only_worker(self.environment.manifest, f"{self.environment.migration.name}/{self.kind}", "")
                )
                return
            except SliceBusy:
                if time.monotonic() >= until:
                    raise SyncBusy(
                        f"The wave {self.id} is kept in step by another process.",
                        "Nothing, if that one goes on; else end it, then try again.",
                    ) from None
            time.sleep(_LOOK_SECONDS)


def check_wave(plan: Plan, wave_id: str) -> None:
    """Raises NoSuchWave."""
    known = wave_ids(plan)
    if wave_id not in known:
        raise NoSuchWave(f"The plan has no wave {wave_id}.", f"Its waves: {', '.join(known)}.")


def synced_wave(environment: Environment, wave_id: str, loaded: bool = True) -> SyncedWave:
    """A wave that can be kept in step, or, where it need not be `loaded`, looked at.

    Raises NoSuchWave, NoCapture, NeverLoaded.
    """
    check_wave(environment.migration.plan, wave_id)
    wave = SyncedWave(environment, wave_id)
    assert wave.journal is not None  # before the manifest is asked, which may not be there
    wave = with_flipped(wave)
    for entity in environment.migration.entities if loaded else ():
        if missing := [unit for unit in wave.units if unit not in wave.loaded.get(entity, ())]:
            raise NeverLoaded(
                f"The wave {wave_id} was never loaded: there is no run of {entity} for {', '.join(missing[:5])}.",
                f"Load it first: `medferry run --wave {wave_id}`, or its DAG.",
            )
    return wave


def with_flipped(wave: SyncedWave) -> SyncedWave:
    """The wave, with the authority of those units that are in Medplum by now: there, whatever the plan says.

    Their gates say so: one that is shut for good. Raises SourceUnavailable.
    """
    environment = wave.environment
    there = shut_units(environment) & {*wave.units}
    if not there:
        return wave
    plan = flipped(environment.migration.plan, environment.migration.entities, there)
    migration = replace(environment.migration, plan=plan)
    return SyncedWave(environment.of(migration), wave.id, there)


def shut_units(environment: Environment) -> frozenset[str]:
    """The units whose legacy gates are shut for good; none where there are no gates. Raises SourceUnavailable."""
    if environment.migration.gate is None:
        return frozenset()
    gate = legacy_gate(environment)
    with writing(environment.capture, gate) as connection:
        if GATE not in sa.inspect(connection).get_table_names():
            return frozenset()
        return frozenset(one.unit for one in gate.all(connection) if one.state is GateState.SHUT)
