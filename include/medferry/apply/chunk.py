"""Load one chunk of source records: look up, write, read back, record; then each has its disposition."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from medferry.apply.batch import BatchSender
from medferry.apply.breaker import Breaker
from medferry.apply.departure import Noted, read_clocks
from medferry.apply.documents import DocumentUploader
from medferry.apply.doubts import Doubts
from medferry.apply.missing import missing_record
from medferry.apply.open_references import may_be_written, never_resolved
from medferry.apply.plan import DriftPolicy, Failed, Settlement
from medferry.apply.referable import Referable
from medferry.apply.referee import Referee
from medferry.apply.targets import LoadRecord, resolved
from medferry.apply.visibility import Visibility
from medferry.apply.writer import Writer
from medferry.apply.written import WriteResult
from medferry.errors import MedferryError
from medferry.manifest import sent_batches
from medferry.manifest.crosswalk import (
    ConfirmedWrite,
    CrosswalkEntry,
    Name,
    confirmed_by,
    find_targets,
    record_attempts,
    record_confirmed,
)
from medferry.manifest.runs import SliceRow
from medferry.manifest.sent_batches import Sending, SentEntry
from medferry.manifest.source_records import DispositionChange, set_dispositions
from medferry.manifest.unchanged import forget_digests
from medferry.mapping.outcomes import DEAD, Disposition
from medferry.medplum.client import MedplumClient
from medferry.medplum.limiter import ConcurrencyLimiter
from medferry.runtime.control import checkpoint
from medferry.runtime.hold import Hold
from medferry.runtime.options import LoadMode, RunOptions
from medferry.runtime.progress import Tally

_RENEW_SECONDS = 30.0
"""A chunk that waits for quota or answers renews its leases so often; they run out after 15 minutes."""

DEFERRED, WAITING, LOST = "deferred", "waiting", "lost"
"""What a chunk counts beside dispositions."""


@dataclass(frozen=True, slots=True)
class ChunkLoader:
    """One worker's hold on one slice, used by several threads.

    `nothing_there`: Medplum held nothing under the slice's names at its start.
    """

    hold: Hold
    slice: SliceRow
    options: RunOptions
    client: MedplumClient
    limiter: ConcurrencyLimiter
    visibility: Visibility
    referable: Referable
    nothing_there: bool
    breaker: Breaker
    policy: DriftPolicy
    refused: set[Name] = field(default_factory=set)
    """Conditional creates that got a 400 once, in whichever pass."""
    suspects: dict[Name, float] = field(default_factory=dict)
    """What was refused without a place, since when."""
    tally: Tally = field(default_factory=Tally)
    """Of the session."""

    def load(self, records: Sequence[LoadRecord]) -> Counter[str]:
        """Load one chunk; returns dispositions, beside them counts of what is not decided yet and of what happened.

        DEFERRED are records that wait for rows of their own entity; WAITING those of which something was sent that may
        still arrive; LOST are batches that got no answer.
        """
        checkpoint(self.hold.environment, self.hold.run)
        known, referable, doubts = self._known(records)
        settled: dict[Name, Settlement] = {}
        waiting: set[Name] = set()
        counts: Counter[str] = Counter()
        left = list(records)
        while staged := may_be_written(left, referable, settled, waiting):
            ready = [resolved(resource, referable) for resource in staged]
            failure: MedferryError | None = None
            writer = self._writer(doubts)
            try:
                ready, refused = self._documents().placed(ready)
                settled |= refused
                written = writer.write(ready, known)
            except MedferryError as error:
                failure, written = error, writer.result
            moved = _has_moved(written, known)
            settled |= written.settled
            waiting |= written.waiting
            new = {name: _as_known(end) for name, end in written.settled.items() if isinstance(end, ConfirmedWrite)}
            known |= new
            referable |= new
            decisions = [decision for record in left if (decision := _decision(record, settled))]
            self._record(written, decisions, moved)
            counts.update(decision.disposition for decision in decisions)
            counts[LOST] += len(written.unanswered)
            if failure is not None:
                raise failure
            decided = {decision.key for decision in decisions}
            left = [record for record in left if record.key not in decided]
        held_up = [record for record in left if any(resource.name in waiting for resource in record.resources)]
        counts[WAITING] += len(held_up)
        return counts + self._unresolved([record for record in left if record not in held_up], referable)

    def _known(
        self, records: Sequence[LoadRecord]
    ) -> tuple[dict[Name, CrosswalkEntry], dict[Name, CrosswalkEntry], Doubts]:
        """The crosswalk's view of the records' names; what they may refer to; and the doubts about them."""
        own = {resource.name for record in records for resource in record.resources}
        wanted = {name for record in records for resource in record.resources for name in resource.wanted}
        run, settle = self.hold.run, self.hold.environment.settings.settle_seconds
        doubts = Doubts(settle, lag=self.visibility.lag)
        present = self.client.server_clock.now()
        with self.hold.environment.manifest.begin() as connection:
            doubts.add(sent_batches.open_batches(connection, run.migration, [self.slice.entity], present), own)
            known = find_targets(connection, run.migration, own | wanted)
            targets = {name: entry for name, entry in known.items() if name in wanted}
            others = [name for name, entry in targets.items() if entry.run_id != run.id]
            confirmed = targets.keys() - others | confirmed_by(connection, run.id, others)
        return known, self.referable.among(targets, confirmed), doubts

    def _writer(self, doubts: Doubts) -> Writer:
        settle = self.hold.environment.settings.settle_seconds
        return Writer(
            BatchSender(self.client, self.limiter, self.slice.entity, self._note, self._stay_alive(), settle),
            self.options.batch_size,
            doubts,
            self.visibility,
            self.options.load_mode is LoadMode.CONDITIONAL,
            self.policy,
            self.nothing_there and not doubts.of,
            self._referee(),
            refused=self.refused,
            suspects=self.suspects,
        )

    def _referee(self) -> Referee | None:
        return Referee(self.hold, self.slice.entity) if self.policy is DriftPolicy.MERGE else None

    def _documents(self) -> DocumentUploader:
        return DocumentUploader(
            self.hold, self.slice, self.client, self.limiter, self._stay_alive(), self.options.overwrite
        )

    def _note(self, entries: Sequence[SentEntry]) -> Noted:
        """Write down what is about to be sent. Raises LeaseLost when it is another's to send."""
        with self.hold.writing() as connection:
            at = read_clocks()  # no later than the note's own time: a wait for the manifest is over, its commit is not
            sending = Sending(self.hold.environment.settings.settle_seconds, self.client.server_clock.now())
            return Noted(sent_batches.note(connection, self.hold.run.migration, self.slice, entries, sending), at)

    def _stay_alive(self) -> Callable[[], None]:
        """Renews the leases while a chunk is long at work. Raises LeaseLost when another has taken its slice."""
        last = time.monotonic()

        def look() -> None:
            nonlocal last
            if time.monotonic() - last > _RENEW_SECONDS:
                self.hold.keep()
                last = time.monotonic()

        return look

    def _unresolved(self, records: Sequence[LoadRecord], known: dict[Name, CrosswalkEntry]) -> Counter[str]:
        """Quarantine records whose references lead nowhere; what waits for rows of its own entity is deferred."""
        migration = self.hold.environment.migration
        own = migration.naming.system(self.slice.entity)
        decisions = never_resolved(records, known, own, partial(missing_record, migration))
        if decisions:
            self._record(WriteResult(), decisions)
        return Counter({Disposition.QUARANTINED: len(decisions), DEFERRED: len(records) - len(decisions)})

    def _record(self, written: WriteResult, decisions: Sequence[DispositionChange], has_moved: bool = False) -> None:
        """What was sent, proven and decided, in one transaction that only the slice's present worker may commit."""
        run, slice_id = self.hold.run, self.slice.id
        proven = [end for end in written.settled.values() if isinstance(end, ConfirmedWrite)]
        with self.hold.writing() as connection:
            record_attempts(connection, run.id, slice_id, written.attempts)
            for note, lost_at in written.unanswered.items():
                sent_batches.renew(connection, note, time.monotonic() - lost_at)
            for note, entries in written.unproven.items():
                sent_batches.keep_only(connection, note, entries)
            sent_batches.settle_entries(connection, written.ended)
            sent_batches.end(connection, written.closed)
            record_confirmed(connection, run.migration, run.id, slice_id, proven)
            set_dispositions(connection, run.id, self.slice.entity, decisions)
            if self.policy is not DriftPolicy.CONFLICT:
                Referee(self.hold, self.slice.entity).settle(connection, written.settled, written.ruled)
            if has_moved:
                referring = self.hold.environment.migration.referring_to(self.slice.entity)
                forget_digests(connection, run.migration, referring)
        self.tally.add(
            len(decisions),
            [*(end.action for end in proven), *(d.disposition for d in decisions if d.disposition in DEAD)],
            (decision.reason for decision in decisions),
        )
        for reason, number in Counter(decision.reason for decision in decisions).items():
            self.breaker.count(reason, number)
        self.breaker.check()


def drift_policy(options: RunOptions) -> DriftPolicy:
    """The operator's option as the writer's policy."""
    return DriftPolicy.OVERWRITE if options.overwrite else DriftPolicy.CONFLICT


def _decision(record: LoadRecord, settled: dict[Name, Settlement]) -> DispositionChange | None:
    """The disposition of a record that is settled, or of which one resource failed."""
    ends = [settled.get(resource.name) for resource in record.resources]
    if failed := [end for end in ends if isinstance(end, Failed)]:
        worst = min(failed, key=lambda end: end.disposition is not Disposition.REJECTED)
        return DispositionChange(record.key, worst.disposition, worst.reason, place=worst.place)
    return DispositionChange(record.key, Disposition.SUCCESSFUL) if all(ends) else None


def _has_moved(written: WriteResult, known: Mapping[Name, CrosswalkEntry]) -> bool:
    """Whether a resource has another id now than the crosswalk knew: what refers to it must be written again."""
    confirmed = ((name, end) for name, end in written.settled.items() if isinstance(end, ConfirmedWrite))
    return any(name in known and known[name].medplum_id != end.medplum_id for name, end in confirmed)


def _as_known(end: Settlement) -> CrosswalkEntry:
    assert isinstance(end, ConfirmedWrite)
    known = (end.medplum_id, end.version_id, end.content_hash, end.resource_type)
    return CrosswalkEntry(*known, wanted_hash=end.wanted_hash)
