"""Load: bring staged Bundles into Medplum, slices side by side; each source record gets its disposition.

Work goes in chunks of whole source records; a chunk is looked up, written, read back and recorded before it counts.
Chunks of all slices share the run's lanes, so that the server need not wait for us. A killed task leaves at most the
chunks in flight to be looked at again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from medferry.apply.breaker import Breaker
from medferry.apply.chunk import DEFERRED, LOST, WAITING, ChunkLoader, drift_policy
from medferry.apply.open_references import waited_in_vain
from medferry.apply.plan import DriftPolicy
from medferry.apply.referable import Referable
from medferry.apply.visibility import Visibility
from medferry.errors import MedferryError
from medferry.manifest import runs
from medferry.manifest.runs import RunRow, SliceRow, SliceStage
from medferry.manifest.slice_lock import only_worker
from medferry.manifest.source_records import pending_keys, set_dispositions
from medferry.mapping.outcomes import Disposition, Reason
from medferry.medplum.client import MedplumClient
from medferry.medplum.limiter import ConcurrencyLimiter
from medferry.medplum.waits import WaitFor
from medferry.runtime.claim import keep_claim
from medferry.runtime.continuing import is_dry
from medferry.runtime.control import heed_abort
from medferry.runtime.environment import Environment, own_run
from medferry.runtime.gc_tuning import rare_collections
from medferry.runtime.hold import Hold
from medferry.runtime.options import RunOptions
from medferry.runtime.progress import Tally
from medferry.runtime.pulse import Pulse, pulse_of
from medferry.runtime.systems import check_medplum
from medferry.stages.born import leave_born
from medferry.stages.foresee import foresee_slice
from medferry.stages.key_slices import stop_share
from medferry.stages.moved import leave_moved
from medferry.stages.nothing_there import nothing_there
from medferry.stages.patience import Patience
from medferry.stages.pending import Chunk, pending_chunks

_SLICES_AT_ONCE = 4

Progress = Callable[[str, int], None]
"""Called with the entity and the number of its source records that have just been settled; from several threads."""


class DryRun(MedferryError):
    """Something of a dry run was about to be written."""


@dataclass(frozen=True, slots=True)
class LoadSession:
    """What all slices that one process loads have in common: one client, its lanes, the threads that use them."""

    environment: Environment
    run: RunRow
    options: RunOptions
    client: MedplumClient
    limiter: ConcurrencyLimiter
    visibility: Visibility
    referable: Referable
    threads: ThreadPoolExecutor
    policy: DriftPolicy
    may_write: Callable[[], None]
    """Raises OtherManifest, OlderManifest where the identifiers were taken over since."""
    tally: Tally = field(default_factory=Tally)

    def load(
        self,
        slice_ids: Sequence[str],
        progress: Progress = lambda *_: None,
    ) -> dict[str, int]:
        """Load staged slices, given in load order; the first write of each comes when all it refers to is loaded.

        Returns source records by disposition. Safe to repeat at any point. Raises what `load_slice` raises, when the
        slices in work have come to an end.
        """
        counts: Counter[str] = Counter()
        before = self._awaited(slice_ids)
        loads: dict[str, Future[Counter[str]]] = {}

        def load(slice_id: str) -> Counter[str]:
            def others_loaded() -> None:
                wait(loads[other] for other in before[slice_id])
                for other in before[slice_id]:
                    loads[other].result()  # of what refers to a slice that failed, nothing is written

            with only_worker(self.environment.manifest, self.run.id, slice_id):
                return _load_locked(self, slice_id, others_loaded, progress)

        with self._pulse(slice_ids).beating(), ThreadPoolExecutor(_SLICES_AT_ONCE) as side_by_side:
            for slice_id in slice_ids:
                loads[slice_id] = side_by_side.submit(load, slice_id)
            try:
                for load_of_slice in loads.values():
                    counts.update(load_of_slice.result())
            except BaseException:
                for load_of_slice in loads.values():
                    load_of_slice.cancel()
                raise
        return dict(+counts)

    def _pulse(self, slice_ids: Sequence[str]) -> Pulse:
        with self.environment.manifest.begin() as connection:
            slices = [each for each in runs.slices_of(connection, self.run.id) if each.id in {*slice_ids}]
        return pulse_of(self.environment, self.run, "load", slices, self.tally, self.client)

    def _awaited(self, slice_ids: Sequence[str]) -> dict[str, list[str]]:
        """Slice → the slices among `slice_ids` of the entities that it refers to; they come before it."""
        with self.environment.manifest.begin() as connection:
            entity_of = {slice_.id: slice_.entity for slice_ in runs.slices_of(connection, self.run.id)}
        of_entity = {
            entity: [other for other in slice_ids if entity_of[other] in spec.references and entity_of[other] != entity]
            for entity, spec in self.environment.migration.specs.items()
        }
        return {slice_id: of_entity[entity_of[slice_id]] for slice_id in slice_ids}


@contextmanager
def load_session(
    environment: Environment, run: RunRow, options: RunOptions, policy: DriftPolicy | None = None
) -> Iterator[LoadSession]:
    """The session that loads slices of a run in this process; without a `policy` for drift, by that of the options.

    Raises DryRun, as nothing of such a run may be written; OtherSystem, OtherManifest, MedplumUnavailable,
    Unauthorised.
    """
    if is_dry(run):
        raise DryRun(f"Run {run.id} is a dry run: it writes nothing.", "Start a run to load.")
    # More threads than lanes: some look up, read back and record while others have their batch in flight.
    with (
        rare_collections(),
        environment.medplum(options) as client,
        ThreadPoolExecutor(options.lanes + 2) as threads,
    ):
        client.waits.heed = partial(heed_abort, environment, run.id)
        check_medplum(environment, client)
        may_write = keep_claim(environment, client)
        visibility = Visibility(client, environment.settings.settle_seconds)
        limiter = ConcurrencyLimiter(options.lanes, partial(client.waits.sleep, WaitFor.RECOVERY))
        referable = Referable(client)
        policy = policy or drift_policy(options)
        yield LoadSession(environment, run, options, client, limiter, visibility, referable, threads, policy, may_write)


def load_slice(
    environment: Environment, run_id: str, slice_id: str, progress: Progress = lambda *_: None
) -> dict[str, int]:
    """Load one transformed slice; returns the number of source records by disposition. Safe to repeat at any point.

    In a dry run nothing is written: its references are judged.

    Raises LeaseHeld, LeaseLost, SliceBusy, NotSettled, BreakerOpen, RunAborted, Unauthorised, StagingError;
    what was settled before is recorded.
    """
    run, options = own_run(environment, run_id)
    if options.dry_run:
        return dict(foresee_slice(environment, run, options, slice_id, progress))
    with load_session(environment, run, options) as session:
        return session.load([slice_id], progress)


def _load_locked(
    session: LoadSession, slice_id: str, others_loaded: Callable[[], None], progress: Progress
) -> Counter[str]:
    """Load a slice that no other living worker has; nothing of it is written before `others_loaded` returns."""
    manifest, run = session.environment.manifest, session.run
    with manifest.begin() as connection:
        runs.take_slice(connection, run.id, slice_id)
        slice_ = runs.get_slice(connection, run.id, slice_id)
    loader = _loader(session, slice_)
    counts: Counter[str] = Counter()
    patience = Patience(loader.hold)
    while True:
        before = counts.total()
        undecided = _one_pass(session, loader, counts, others_loaded, progress)
        if undecided[WAITING]:
            patience.wait(undecided, counts.total() > before)
        elif not undecided[DEFERRED] or counts.total() == before:
            break
    with loader.hold.writing() as connection:
        left = sorted(pending_keys(connection, run.id, slice_id))
        set_dispositions(connection, run.id, slice_.entity, waited_in_vain(left))
        runs.set_stage(connection, run.id, slice_id, SliceStage.LOADED)
    counts[Disposition.QUARANTINED] += len(left)
    session.tally.add(len(left), [Disposition.QUARANTINED] * len(left), [Reason.UNRESOLVED_REFERENCE] * len(left))
    return counts


def _loader(session: LoadSession, slice_: SliceRow) -> ChunkLoader:
    return ChunkLoader(
        Hold(session.environment, session.run, slice_),
        slice_,
        session.options,
        session.client,
        session.limiter,
        session.visibility,
        session.referable,
        nothing_there(session.environment, session.run, session.client, slice_),
        Breaker(slice_.entity, stop_share(session.run, slice_, session.options)),
        session.policy,
        tally=session.tally,
    )


def _one_pass(
    session: LoadSession,
    loader: ChunkLoader,
    counts: Counter[str],
    others_loaded: Callable[[], None],
    progress: Progress,
) -> Counter[str]:
    """Go once through all pending records with the session's threads; returns DEFERRED, WAITING and LOST."""
    counts[Disposition.QUARANTINED] += leave_moved(loader.hold, loader.slice)
    counts[Disposition.QUARANTINED] += leave_born(loader.hold, loader.slice, session.client)
    with session.environment.manifest.begin() as connection:
        pending = pending_keys(connection, session.run.id, loader.slice.id)
    decided = loader.slice.eligible - len(pending)  # by the mapping, by earlier workers and passes
    progress(loader.slice.entity, decided - loader.breaker.total)
    loader.tally.add_earlier(decided - loader.breaker.total)
    loader.breaker.total = decided
    undecided: Counter[str] = Counter()
    staging = session.environment.staging(session.run.id)
    in_chunks = pending_chunks(staging, loader.slice, pending, session.options.batch_size)
    chunks = _first_ahead(in_chunks, others_loaded)
    for result in _in_threads(session, loader, chunks):
        undecided += Counter({name: result.pop(name, 0) for name in (DEFERRED, WAITING, LOST)})
        counts.update(result)
        progress(loader.slice.entity, result.total())
    return undecided


def _first_ahead(chunks: Iterator[Chunk], may_begin: Callable[[], None]) -> Iterator[Chunk]:
    """The same chunks; the first is read before it may be used, so that it can be sent at once."""
    first = next(chunks, None)
    may_begin()
    if first is not None:
        yield first
    yield from chunks


def _in_threads(session: LoadSession, loader: ChunkLoader, chunks: Iterator[Chunk]) -> Iterator[Counter[str]]:
    """Let the session's threads work on chunks, a bounded number at once; after a failure no more are started."""
    flying: set[Future[Counter[str]]] = set()
    try:
        for chunk in chunks:
            session.may_write()
            flying.add(session.threads.submit(loader.load, chunk))
            if len(flying) > session.options.lanes + 1:
                done, flying = wait(flying, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        while flying:
            done, flying = wait(flying, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    finally:
        for future in flying:
            future.cancel()
        wait(flying)  # the slice stays ours until its last chunk has come to rest
