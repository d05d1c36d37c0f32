"""What a load would make of a slice's references, told by a dry run. Medplum is asked nothing, and told nothing.

The slices come in load order, as those of a load. What is ready is noted; what refers to neither that nor to anything
in the crosswalk is quarantined by the load's own rule, and so is what refers to it in turn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from medferry.apply.breaker import Breaker
from medferry.apply.missing import missing_record
from medferry.apply.open_references import may_be_written, never_resolved, waited_in_vain
from medferry.manifest import runs
from medferry.manifest.crosswalk import Name
from medferry.manifest.foreseen import foreseen, record_foreseen
from medferry.manifest.runs import RunRow, SliceRow, SliceStage
from medferry.manifest.slice_lock import only_worker
from medferry.manifest.source_records import DispositionChange, pending_keys, set_dispositions
from medferry.mapping.outcomes import Disposition
from medferry.runtime.control import checkpoint
from medferry.runtime.environment import Environment
from medferry.runtime.hold import Hold
from medferry.runtime.options import RunOptions
from medferry.runtime.progress import Tally
from medferry.runtime.pulse import pulse_of
from medferry.stages.born import leave_born
from medferry.stages.key_slices import stop_share
from medferry.stages.pending import Chunk, pending_chunks


def foresee_slice(
    environment: Environment, run: RunRow, options: RunOptions, slice_id: str, progress: Callable[[str, int], None]
) -> Counter[str]:
    """Judge one transformed slice of a dry run, all that it refers to before it; returns records by disposition.

    Of a sample nothing is judged: what it refers to may be what it leaves out. A slice that was judged is left as it
    is. Raises SliceBusy, LeaseLost, RunAborted, StagingError, SourceUnavailable; BreakerOpen where a load would stop.
    """
    if options.sample is not None:
        return Counter()
    checkpoint(environment, run)
    with only_worker(environment.manifest, run.id, slice_id):
        with environment.manifest.begin() as connection:
            runs.take_slice(connection, run.id, slice_id)
            slice_ = runs.get_slice(connection, run.id, slice_id)
        if runs.reached(slice_, SliceStage.LOADED):
            return Counter()
        return _Foresight(environment, run, options, slice_, progress).carry_out()


@dataclass
class _Foresight:
    """One slice, by its only worker. `undecided` are the keys of records that are neither ready nor quarantined."""

    environment: Environment
    run: RunRow
    options: RunOptions
    slice: SliceRow
    progress: Callable[[str, int], None]
    undecided: set[str] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        self.hold = Hold(self.environment, self.run, self.slice)
        self.breaker = Breaker(self.slice.entity, stop_share(self.run, self.slice, self.options))
        self.own = self.environment.migration.naming.system(self.slice.entity)

    def carry_out(self) -> Counter[str]:
        self.counts[Disposition.QUARANTINED] += leave_born(self.hold, self.slice, None)
        with self.environment.manifest.begin() as connection:
            self.undecided = pending_keys(connection, self.run.id, self.slice.id)
        with pulse_of(self.environment, self.run, "references", [self.slice], self.tally).beating():
            self._count([], self.slice.eligible - len(self.undecided))
            while self._one_pass():
                pass
        left = waited_in_vain(sorted(self.undecided))
        with self.hold.writing() as connection:
            set_dispositions(connection, self.run.id, self.slice.entity, left)
            runs.set_stage(connection, self.run.id, self.slice.id, SliceStage.LOADED)
        self.counts[Disposition.QUARANTINED] += len(left)
        return +self.counts

    def _one_pass(self) -> bool:
        """Go once through what is undecided; whether there is reason to go again: rows of one's own entity came."""
        before = len(self.undecided)
        staging = self.environment.staging(self.run.id)
        for chunk in pending_chunks(staging, self.slice, frozenset(self.undecided), self.options.batch_size):
            checkpoint(self.environment, self.run)
            self._judge(chunk)
        return 0 < len(self.undecided) < before

    def _judge(self, chunk: Chunk) -> None:
        wanted = {name for record in chunk for resource in record.resources for name in resource.wanted}
        with self.environment.manifest.begin() as connection:
            known = foreseen(connection, self.run, wanted)
        ready: set[Name] = set()
        while more := {resource.name for resource in may_be_written(chunk, known | ready, ready)}:
            ready |= more
        done = {record.key for record in chunk if all(resource.name in ready for resource in record.resources)}
        left = [record for record in chunk if record.key not in done]
        ends = never_resolved(left, known | ready, self.own, partial(missing_record, self.environment.migration))
        with self.hold.writing() as connection:
            record_foreseen(connection, self.run.id, self.slice.id, self.slice.entity, sorted(ready))
            set_dispositions(connection, self.run.id, self.slice.entity, ends)
        self.counts[Disposition.PENDING] += len(done)
        self.counts[Disposition.QUARANTINED] += len(ends)
        self.undecided -= done | {end.key for end in ends}
        self._count(ends, len(done))

    def _count(self, ends: list[DispositionChange], others: int) -> None:
        """Tell of `ends`, and of `others` that did not fail here. Raises BreakerOpen."""
        for end in ends:
            self.breaker.count(end.reason)
        self.breaker.count("", others)
        self.tally.add(len(ends) + others, (end.disposition for end in ends), (end.reason for end in ends))
        self.progress(self.slice.entity, len(ends) + others)
        self.breaker.check()
