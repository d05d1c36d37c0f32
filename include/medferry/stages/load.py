"""Load: bring one slice's staged Bundles into Medplum and give every source unit its disposition.

Work goes in chunks of whole source units; a chunk is looked up, written, read back and recorded before it counts.
Several lanes work on chunks at once. A killed task leaves at most the chunks in flight to be looked at again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import groupby

from medferry.errors import MedferryError
from medferry.fhir.bundle import identity
from medferry.manifest import leases, runs
from medferry.manifest.crosswalk import Known, Name, Proven, find_targets, record_attempts, record_proven
from medferry.manifest.runs import RunRow, SliceRow
from medferry.manifest.source_units import Decision, decide, pending_keys
from medferry.manifest.workers import only_worker
from medferry.medplum.client import MedplumClient
from medferry.stages.environment import Environment, own_run, scopes_of
from medferry.stages.options import LoadMode, RunOptions
from medferry.stages.send import Jobs, Send, sender
from medferry.stages.targets import LoadUnit, Target, resolved, unresolved, wanted_names
from medferry.stages.wishes import heed
from medferry.stages.write import Failed, Writer, Written

CHUNK_TARGETS = 1_000
"""Targets a chunk: what one look-up and one read-back can hold."""

Progress = Callable[[int], None]
"""Called with the number of source units that have just been settled."""


@dataclass(frozen=True, slots=True)
class _Loader:
    """One worker's hold on one slice."""

    environment: Environment
    run: RunRow
    slice: SliceRow
    fence: int
    options: RunOptions
    client: MedplumClient
    send: Send

    def chunk(self, units: Sequence[LoadUnit]) -> Counter[str]:
        """Load one chunk; returns dispositions, and "deferred" for units that wait for rows of their own entity."""
        heed(self.environment, self.run)
        known = self._known(units)
        settled: dict[Name, Proven | Failed] = {}
        failure: MedferryError | None = None
        while failure is None:
            ready = _ready(units, known, settled)
            if not ready:
                break
            writer = self._writer()
            try:
                written = writer.write(ready, known)
            except MedferryError as error:
                failure, written = error, writer.result
            settled |= written.settled
            known |= {name: _as_known(end) for name, end in written.settled.items() if isinstance(end, Proven)}
            self._record(written)
        decisions, deferred = self._decisions(units, known, settled, final=failure is None)
        with self.environment.manifest.begin() as connection:
            runs.check_fence(connection, self.run.id, self.slice.id, self.fence)
            decide(connection, self.run.id, self.slice.entity, decisions)
        if failure is not None:
            raise failure
        return Counter(decision.disposition for decision in decisions) + Counter(deferred=deferred)

    def _known(self, units: Sequence[LoadUnit]) -> dict[Name, Known]:
        """The crosswalk's view of the units' own names and of all that they refer to."""
        resources = [resource for unit in units for resource in unit.resources]
        names = wanted_names(resources) | {identity(resource) for resource in resources}
        with self.environment.manifest.begin() as connection:
            return find_targets(connection, self.run.migration, names)

    def _writer(self) -> Writer:
        conditional = self.options.load_mode is LoadMode.CONDITIONAL
        return Writer(
            self.client, self.send, self.slice.entity, self.options.batch_size, conditional, self.options.overwrite
        )

    def _record(self, written: Written) -> None:
        """Attempts and proven targets, in a transaction that only the slice's present worker may commit."""
        proven = [end for end in written.settled.values() if isinstance(end, Proven)]
        with self.environment.manifest.begin() as connection:
            runs.check_fence(connection, self.run.id, self.slice.id, self.fence)
            leases.check(connection, self.run.migration, self.run.id, scopes_of(self.run))
            record_attempts(connection, self.run.id, self.slice.id, written.attempts)
            record_proven(connection, self.run.migration, self.run.id, self.slice.id, proven)

    def _decisions(
        self, units: Sequence[LoadUnit], known: dict[Name, Known], settled: dict[Name, Proven | Failed], final: bool
    ) -> tuple[list[Decision], int]:
        """Dispositions of the units that are settled, and the number of those that may still be resolved."""
        own = self.environment.migration.naming.system(self.slice.entity)
        decisions: list[Decision] = []
        deferred = 0
        for unit in units:
            ends = [settled.get(identity(resource)) for resource in unit.resources]
            failed = [end for end in ends if isinstance(end, Failed)]
            if failed:
                worst = min(failed, key=lambda end: end.disposition != "rejected")
                decisions.append(Decision(unit.key, worst.disposition, worst.reason, place=worst.place))
            elif all(isinstance(end, Proven) for end in ends):
                decisions.append(Decision(unit.key, "successful"))
            elif final:
                missing = [name for resource in unit.resources for name in unresolved(resource, known)]
                if any(system == own or system.startswith(f"{own}/") for system, _ in missing):
                    deferred += 1
                else:
                    decisions.append(_unresolved_decision(unit.key, missing))
        return decisions, deferred


def _ready(units: Sequence[LoadUnit], known: dict[Name, Known], settled: dict[Name, Proven | Failed]) -> list[Target]:
    """Targets of units that have not failed, not yet settled, whose references can all be made literal."""
    ready = []
    for unit in units:
        if any(isinstance(settled.get(identity(resource)), Failed) for resource in unit.resources):
            continue
        within = {identity(resource) for resource in unit.resources}
        missing = {name for resource in unit.resources for name in unresolved(resource, known)}
        if missing - within:
            continue  # nothing of a unit is written while any of its references is open
        ready += [
            resolved(resource, known)
            for resource in unit.resources
            if identity(resource) not in settled and not unresolved(resource, known)
        ]
    return ready


def _as_known(end: Proven | Failed) -> Known:
    assert isinstance(end, Proven)
    return Known(end.medplum_id, end.version_id, end.content_hash, end.resource_type)


def _unresolved_decision(key: str, missing: Sequence[Name]) -> Decision:
    system, value = missing[0]
    return Decision(key, "quarantined", "unresolved-reference", place=f"{system.rsplit('/', 1)[-1]} {value}")


def load_slice(
    environment: Environment, run_id: str, slice_id: str, progress: Progress = lambda _: None
) -> dict[str, int]:
    """Load one transformed slice; returns the number of source units by disposition. Safe to repeat at any point.

    Raises LeaseHeld, LeaseLost, SliceBusy, NotSettled, JobStuck, Unauthorised, StagingError, RunAborted; what was
    settled before is recorded.
    """
    run, options = own_run(environment, run_id)
    if options.dry_run:
        return {}
    with only_worker(environment.manifest, run_id, slice_id):
        return _load_held(environment, run, options, slice_id, progress)


def _load_held(
    environment: Environment, run: RunRow, options: RunOptions, slice_id: str, progress: Progress
) -> dict[str, int]:
    """Load a slice that no other living worker has."""
    with environment.manifest.begin() as connection:
        mine = runs.get_slice(connection, run.id, slice_id)
        fence = runs.take_slice(connection, run.id, slice_id)
    counts: Counter[str] = Counter()
    with environment.medplum(options) as client:
        send = sender(Jobs(environment.manifest, client, run, mine, fence), options.load_mode)
        loader = _Loader(environment, run, mine, fence, options, client, send)
        while True:
            before = sum(counts.values())
            deferred = _one_pass(loader, counts, progress)
            if not deferred or sum(counts.values()) == before:
                break
    with environment.manifest.begin() as connection:
        runs.check_fence(connection, run.id, slice_id, fence)
        left = sorted(pending_keys(connection, run.id, slice_id))
        decide(connection, run.id, mine.entity, [Decision(k, "quarantined", "unresolved-reference") for k in left])
        runs.set_stage(connection, run.id, slice_id, "loaded")
    counts["quarantined"] += len(left)
    return dict(+counts)


def _one_pass(loader: _Loader, counts: Counter[str], progress: Progress) -> int:
    """Go once through all pending units with the run's lanes; returns how many were deferred."""
    with loader.environment.manifest.begin() as connection:
        pending = pending_keys(connection, loader.run.id, loader.slice.id)
    deferred = 0
    for result in _in_lanes(loader, _chunks(_units(loader, pending))):
        deferred += result.pop("deferred", 0)
        counts.update(result)
        progress(sum(result.values()))
    return deferred


def _in_lanes(loader: _Loader, chunks: Iterator[list[LoadUnit]]) -> Iterator[Counter[str]]:
    """Run chunks in the run's lanes, at most one waiting; the first failure stops the rest from starting."""
    with ThreadPoolExecutor(loader.options.lanes) as lanes:
        flying: set[Future[Counter[str]]] = set()
        for chunk in chunks:
            flying.add(lanes.submit(loader.chunk, chunk))
            if len(flying) > loader.options.lanes:
                done, flying = wait(flying, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        for future in flying:
            yield future.result()


def _units(loader: _Loader, pending: set[str]) -> Iterator[LoadUnit]:
    """The slice's pending source units in staged order."""
    staging = loader.environment.staging(loader.run.id)
    for number in range(loader.slice.bundles):
        entries = staging.read_bundle(loader.slice.id, number)["entry"]
        for key, some in groupby((entry["resource"] for entry in entries), key=lambda r: identity(r)[1]):
            if key in pending:
                yield LoadUnit(key, tuple(some))


def _chunks(units: Iterator[LoadUnit]) -> Iterator[list[LoadUnit]]:
    """Units in groups of about CHUNK_TARGETS resources."""
    chunk: list[LoadUnit] = []
    size = 0
    for unit in units:
        if chunk and size + len(unit.resources) > CHUNK_TARGETS:
            yield chunk
            chunk, size = [], 0
        chunk.append(unit)
        size += len(unit.resources)
    if chunk:
        yield chunk
