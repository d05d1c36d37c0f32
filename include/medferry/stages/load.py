"""Load: bring staged Bundles into Medplum, the slices of a level side by side; each source unit gets its disposition.

Work goes in chunks of whole source units; a chunk is looked up, written, read back and recorded before it counts.
Chunks of all slices share the run's lanes, so that the server need not wait for us. A killed task leaves at most the
chunks in flight to be looked at again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby

from medferry.errors import MedferryError
from medferry.fhir.bundle import identity
from medferry.manifest import leases, runs
from medferry.manifest.crosswalk import (
    Known,
    Name,
    Proven,
    find_targets,
    knows_system,
    record_attempts,
    record_proven,
)
from medferry.manifest.runs import RunRow, SliceRow
from medferry.manifest.source_units import Decision, decide, pending_keys
from medferry.manifest.workers import only_worker
from medferry.medplum.client import MedplumClient
from medferry.medplum.errors import MedplumUnavailable
from medferry.medplum.lanes import Lanes
from medferry.stages.breaker import Breaker
from medferry.stages.collector import rare_collections
from medferry.stages.confirm import confirmed
from medferry.stages.environment import Environment, own_run, scopes_of
from medferry.stages.extract import extract_slice
from medferry.stages.options import LoadMode, RunOptions
from medferry.stages.send import Jobs, Send, sender
from medferry.stages.targets import LoadUnit, Target, draft, resolved
from medferry.stages.transform import transform_slice
from medferry.stages.wishes import heed
from medferry.stages.write import Failed, Writer, Written

CHUNK_TARGETS = 400
"""Targets a chunk, unless a batch holds more: enough for one look-up, few enough that all lanes have work."""

_SLICES_AT_ONCE = 4

Progress = Callable[[str, int], None]
"""Called with the entity and the number of its source units that have just been settled; from several threads."""


@dataclass(frozen=True, slots=True)
class Crew:
    """What all slices that one process loads have in common: one client, its lanes, the threads that use them."""

    environment: Environment
    run: RunRow
    options: RunOptions
    client: MedplumClient
    lanes: Lanes
    threads: ThreadPoolExecutor

    def load(
        self,
        slice_ids: Sequence[str],
        progress: Progress = lambda *_: None,
        ready: Callable[[str], object] = lambda _: None,
    ) -> dict[str, int]:
        """Load slices that do not wait for each other, each as soon as `ready(id)` returns: then it is transformed.

        Returns source units by disposition. Safe to repeat at any point. Raises what `load_slice` raises, when the
        slices in work have come to an end.
        """
        counts: Counter[str] = Counter()
        with ThreadPoolExecutor(_SLICES_AT_ONCE) as side_by_side:
            loads = [side_by_side.submit(self._load_one, slice_id, progress, ready) for slice_id in slice_ids]
            try:
                for one in loads:
                    counts.update(one.result())
            except BaseException:
                for one in loads:
                    one.cancel()
                raise
        return dict(+counts)

    def _load_one(self, slice_id: str, progress: Progress, ready: Callable[[str], object]) -> Counter[str]:
        ready(slice_id)
        with only_worker(self.environment.manifest, self.run.id, slice_id):
            return _load_held(self, slice_id, progress)


@contextmanager
def crew_of(environment: Environment, run_id: str) -> Iterator[Crew]:
    """The crew that loads slices of a run in this process."""
    run, options = own_run(environment, run_id)
    # More threads than lanes: some look up, read back and record while others have their batch in flight.
    with (
        rare_collections(),
        environment.medplum(options) as client,
        ThreadPoolExecutor(options.lanes + 2) as threads,
    ):
        yield Crew(environment, run, options, client, Lanes(options.lanes), threads)


def load_slice(
    environment: Environment, run_id: str, slice_id: str, progress: Progress = lambda *_: None
) -> dict[str, int]:
    """Load one transformed slice; returns the number of source units by disposition. Safe to repeat at any point.

    Raises LeaseHeld, LeaseLost, SliceBusy, NotSettled, JobStuck, BreakerOpen, RunAborted, Unauthorised, StagingError;
    what was settled before is recorded.
    """
    run, options = own_run(environment, run_id)
    if options.dry_run:
        return {}
    with crew_of(environment, run.id) as crew:
        return crew.load([slice_id], progress)


@dataclass(frozen=True, slots=True)
class _Loader:
    """One worker's hold on one slice. `nothing_there`: Medplum held nothing under the slice's names at its start."""

    crew: Crew
    slice: SliceRow
    fence: int
    send: Send
    nothing_there: bool
    breaker: Breaker = field(repr=False)

    def chunk(self, units: Sequence[LoadUnit]) -> Counter[str]:
        """Load one chunk; returns dispositions, and "deferred" for units that wait for rows of their own entity."""
        heed(self.crew.environment, self.crew.run)
        known = self._known(units)
        settled: dict[Name, Proven | Failed] = {}
        counts: Counter[str] = Counter()
        left = list(units)
        while ready := _ready(left, known, settled):
            failure: MedferryError | None = None
            writer = self._writer()
            try:
                written = writer.write(ready, known)
            except MedferryError as error:
                failure, written = error, writer.result
            settled |= written.settled
            known |= {name: _as_known(end) for name, end in written.settled.items() if isinstance(end, Proven)}
            decisions = [decision for unit in left if (decision := _decision(unit, settled))]
            self._record(written, decisions)
            counts.update(decision.disposition for decision in decisions)
            if failure is not None:
                raise failure
            decided = {decision.key for decision in decisions}
            left = [unit for unit in left if unit.key not in decided]
        return counts + self._unresolved(left, known)

    def _known(self, units: Sequence[LoadUnit]) -> dict[Name, Known]:
        """The crosswalk's view of the units' own names and of all that they refer to."""
        names = {name for unit in units for one in unit.drafts for name in (one.name, *one.wanted)}
        with self.crew.environment.manifest.begin() as connection:
            return find_targets(connection, self.crew.run.migration, names)

    def _writer(self) -> Writer:
        options = self.crew.options
        return Writer(
            self.crew.client,
            self.send,
            self.crew.lanes,
            self.slice.entity,
            options.batch_size,
            options.load_mode is LoadMode.CONDITIONAL,
            options.overwrite,
            self.nothing_there,
        )

    def _unresolved(self, units: Sequence[LoadUnit], known: dict[Name, Known]) -> Counter[str]:
        """Quarantine units whose references lead nowhere; those that wait for rows of their own entity are deferred."""
        own = self.crew.environment.migration.naming.system(self.slice.entity)
        decisions: list[Decision] = []
        for unit in units:
            missing = sorted({name for one in unit.drafts for name in one.wanted if name not in known})
            if not any(system == own or system.startswith(f"{own}/") for system, _ in missing):
                decisions.append(_unresolved_decision(unit.key, missing))
        if decisions:
            self._record(Written(), decisions)
        return Counter(quarantined=len(decisions), deferred=len(units) - len(decisions))

    def _record(self, written: Written, decisions: Sequence[Decision]) -> None:
        """What was sent, proven and decided, in one transaction that only the slice's present worker may commit."""
        run, slice_id = self.crew.run, self.slice.id
        proven = [end for end in written.settled.values() if isinstance(end, Proven)]
        with self.crew.environment.manifest.begin() as connection:
            runs.check_fence(connection, run.id, slice_id, self.fence)
            leases.check(connection, run.migration, run.id, scopes_of(run))
            record_attempts(connection, run.id, slice_id, written.attempts)
            record_proven(connection, run.migration, run.id, slice_id, proven)
            decide(connection, run.id, self.slice.entity, decisions)
        for reason, number in Counter(decision.reason for decision in decisions).items():
            self.breaker.count(reason, number)
        self.breaker.check()


def _ready(units: Sequence[LoadUnit], known: dict[Name, Known], settled: dict[Name, Proven | Failed]) -> list[Target]:
    """Targets of units that have not failed, not yet settled, whose references can all be made literal."""
    ready: list[Target] = []
    for unit in units:
        within = {one.name for one in unit.drafts}
        if any(name not in known and name not in within for one in unit.drafts for name in one.wanted):
            continue  # nothing of a unit is written while any of its references is open
        ready += [
            resolved(one, known)
            for one in unit.drafts
            if one.name not in settled and all(name in known for name in one.wanted)
        ]
    return ready


def _decision(unit: LoadUnit, settled: dict[Name, Proven | Failed]) -> Decision | None:
    """The disposition of a unit that is settled, or of which one resource failed."""
    ends = [settled.get(one.name) for one in unit.drafts]
    if failed := [end for end in ends if isinstance(end, Failed)]:
        worst = min(failed, key=lambda end: end.disposition != "rejected")
        return Decision(unit.key, worst.disposition, worst.reason, place=worst.place)
    return Decision(unit.key, "successful") if all(ends) else None


def _as_known(end: Proven | Failed) -> Known:
    assert isinstance(end, Proven)
    return Known(end.medplum_id, end.version_id, end.content_hash, end.resource_type)


def _unresolved_decision(key: str, missing: Sequence[Name]) -> Decision:
    system, value = missing[0]
    return Decision(key, "quarantined", "unresolved-reference", place=f"{system.rsplit('/', 1)[-1]} {value}")


def _load_held(crew: Crew, slice_id: str, progress: Progress) -> Counter[str]:
    """Load a slice that no other living worker has."""
    manifest, run = crew.environment.manifest, crew.run
    with manifest.begin() as connection:
        fence = runs.take_slice(connection, run.id, slice_id)
        mine = runs.get_slice(connection, run.id, slice_id)
    if mine.repeats:
        number = confirmed(crew.environment, crew.client, run, mine)
        if number is not None:
            progress(mine.entity, number)
            return Counter(successful=number)
        extract_slice(crew.environment, run.id, slice_id, anew=True)
        transform_slice(crew.environment, run.id, slice_id)
        with manifest.begin() as connection:
            mine = runs.get_slice(connection, run.id, slice_id)
    breaker = Breaker(mine.entity, crew.options.stop_at_share)
    send = sender(Jobs(manifest, crew.client, run, mine, fence), crew.options.load_mode)
    loader = _Loader(crew, mine, fence, send, _nothing_there(crew, mine, fence), breaker)
    counts: Counter[str] = Counter()
    while True:
        before = counts.total()
        deferred = _one_pass(loader, counts, progress)
        if not deferred or counts.total() == before:
            break
    with manifest.begin() as connection:
        runs.check_fence(connection, run.id, slice_id, fence)
        left = sorted(pending_keys(connection, run.id, slice_id))
        decide(connection, run.id, mine.entity, [Decision(k, "quarantined", "unresolved-reference") for k in left])
        runs.set_stage(connection, run.id, slice_id, "loaded")
    counts["quarantined"] += len(left)
    return counts


def _nothing_there(crew: Crew, mine: SliceRow, fence: int) -> bool:
    """Whether nothing under the slice's identifier systems was ever written: then there is nothing to look up.

    Only for the first worker of a slice that no run has loaded: a dead one may have a batch on its way still.
    """
    migration = crew.environment.migration
    if fence > 1 or not mine.eligible:
        return False
    for slot, resource_type in migration.specs[mine.entity].produces.items():
        system = migration.naming.system(mine.entity, slot)
        with crew.environment.manifest.begin() as connection:
            if knows_system(connection, crew.run.migration, system):
                return False
        try:
            if crew.client.any_of_system(resource_type, system):
                return False
        except MedplumUnavailable:
            return False  # not known: each chunk looks for itself
    return True


def _one_pass(loader: _Loader, counts: Counter[str], progress: Progress) -> int:
    """Go once through all pending units with the crew's threads; returns how many were deferred."""
    with loader.crew.environment.manifest.begin() as connection:
        pending = pending_keys(connection, loader.crew.run.id, loader.slice.id)
    deferred = 0
    size = max(CHUNK_TARGETS, loader.crew.options.batch_size)
    for result in _in_threads(loader, _chunks(_units(loader, pending), size)):
        deferred += result.pop("deferred", 0)
        counts.update(result)
        progress(loader.slice.entity, result.total())
    return deferred


def _in_threads(loader: _Loader, chunks: Iterator[list[LoadUnit]]) -> Iterator[Counter[str]]:
    """Let the crew's threads work on chunks, a bounded number at once; after a failure no more are started."""
    flying: set[Future[Counter[str]]] = set()
    try:
        for chunk in chunks:
            flying.add(loader.crew.threads.submit(loader.chunk, chunk))
            if len(flying) > loader.crew.options.lanes + 1:
                done, flying = wait(flying, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        while flying:
            done, flying = wait(flying, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    finally:
        for future in flying:
            future.cancel()
        wait(flying)  # the slice stays ours until its last chunk has come to rest


def _units(loader: _Loader, pending: set[str]) -> Iterator[LoadUnit]:
    """The slice's pending source units in staged order."""
    staging = loader.crew.environment.staging(loader.crew.run.id)
    for number in range(loader.slice.bundles):
        entries = staging.read_bundle(loader.slice.id, number)["entry"]
        for key, some in groupby((entry["resource"] for entry in entries), key=lambda r: identity(r)[1]):
            if key in pending:
                yield LoadUnit(key, tuple(draft(resource) for resource in some))


def _chunks(units: Iterator[LoadUnit], most: int) -> Iterator[list[LoadUnit]]:
    """Units in groups of at most `most` resources (or of one unit that has more)."""
    chunk: list[LoadUnit] = []
    size = 0
    for unit in units:
        if chunk and size + len(unit.drafts) > most:
            yield chunk
            chunk, size = [], 0
        chunk.append(unit)
        size += len(unit.drafts)
    if chunk:
        yield chunk
