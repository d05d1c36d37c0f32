"""Write targets to Medplum in rounds: look up, plan, send, read back, until each target is settled.

The look-up before each round makes every repetition safe, whatever became of the round before; what is in doubt waits.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from more_itertools import map_reduce

from medferry.apply.batch import BatchSender
from medferry.apply.disputes import UNDISPUTED
from medferry.apply.doubts import Doubts
from medferry.apply.entry import answered_entry, batches
from medferry.apply.foreign_documents import lead_elsewhere
from medferry.apply.lookup import Accounts, find_locations, read_contents, read_locations
from medferry.apply.plan import DriftPolicy, Failed, Location, Planner, Settlement, Step, quarantined, rejected
from medferry.apply.proof import Answered, prove, read_overtaken
from medferry.apply.referee import Referee
from medferry.apply.targets import ResolvedResource
from medferry.apply.three_way import nothing_made, read_bases
from medferry.apply.visibility import Visibility
from medferry.apply.written import WriteResult
from medferry.errors import TransientError
from medferry.manifest.crosswalk import Action, Attempt, CrosswalkEntry, Name
from medferry.manifest.sent_batches import SentBatch
from medferry.mapping.outcomes import Reason
from medferry.medplum.answers import EntryOutcome
from medferry.medplum.errors import MedplumUnavailable, RequestTooLarge, Throttled, Unauthorised

_ROUNDS = 20
"""Rounds without an answer, with conflicts or with failed read-backs before a slice gives up (and is retried later)."""

_RETRY_STATUSES = frozenset({0, 408, 409, 412, 423, 425, 429})

_ALONE_SECONDS = 60.0
"""A refusal without a place counts after so long, where no other write can tell whether the server is well."""


class NotSettled(TransientError):
    """Medplum kept failing in ways that may pass; what is settled is recorded, the rest stays pending."""


@dataclass(slots=True)
class Writer:
    """Writes the targets of one entity; one instance a call, so that nothing is shared between lanes but the client.

    `batch_size` is in entries. `conditional` creates find what another writer of the same keys has created meanwhile.
    `policy` says what becomes of what somebody else changed or deleted. `nothing_there` spares the first round its
    look-up.
    """

    sender: BatchSender
    batch_size: int
    doubts: Doubts
    visibility: Visibility
    conditional: bool = False
    policy: DriftPolicy = DriftPolicy.CONFLICT
    nothing_there: bool = False
    referee: Referee | None = None
    """Of a synchronisation: it knows what is decided about conflicts, and keeps what is found."""
    sleep: Callable[[float], None] = time.sleep
    result: WriteResult = field(default_factory=WriteResult)
    refused: set[Name] = field(default_factory=set)
    """Conditional creates that got a 400 once: another writer may have been first."""
    suspects: dict[Name, float] = field(default_factory=dict)
    """What was refused without a place → since when (of the process's clock): they are tried alone."""
    _accounts: dict[str, Accounts] = field(default_factory=dict)
    """Medplum id → who may see what is there, as others have set it: an update carries it along."""
    _repeated: dict[Name, Failed] = field(default_factory=dict)
    """Refusals without a place of what was sent last."""

    def write(self, targets: Sequence[ResolvedResource], known: Mapping[Name, CrosswalkEntry]) -> WriteResult:
        """Settle every target, but those that are in doubt when all others are settled (`result.waiting`).

        `known` is the crosswalk's view of them. Raises Unauthorised (the run must pause), LeaseLost, NotSettled (with
        `result` holding what is settled).
        """
        rounds, cause = 0, "conflicts, failing entries or failed read-backs"
        names = [target.name for target in targets]
        arbitration = self.referee.arbitration(names, self.doubts) if self.referee else UNDISPUTED
        planner = Planner(self.sender.entity, known, self.policy, arbitration)
        open_targets = list(targets)
        while open_targets:
            try:
                throttled = self._round(open_targets, planner)
            except Throttled:
                throttled = True
            except MedplumUnavailable as error:
                throttled, cause = False, error.problem
            finally:
                self._take_over_notes()
            left = [target for target in open_targets if target.name not in self.result.settled]
            rounds = 0 if throttled or len(left) < len(open_targets) else rounds + 1
            if self.result.waiting.issuperset(target.name for target in left) and not self.doubts.tell_more:
                break
            if rounds == _ROUNDS:
                raise NotSettled(
                    f"{len(left)} targets of {self.sender.entity} could not be settled in {_ROUNDS} rounds: {cause}",
                    "Check Medplum's health; the task's retry, or a new run, goes on from here.",
                )
            if left and rounds:
                self.sleep(random.uniform(0.5, 1.0) * min(0.2 * 2**rounds, 20))
            open_targets = left
        return self.result

    def _take_over_notes(self) -> None:
        """What the round says about notes: of the result, or a doubt for the next round."""
        lost = self.sender.take_lost()
        self.doubts.add(lost)
        self.result.closed = self.sender.closed - self.result.unproven.keys()
        self.result.ended = self.doubts.ended
        self.result.unanswered = self.sender.unanswered
        self.result.waiting -= self.result.settled.keys()

    # -- one round ---------------------------------------------------------------------------------

    def _round(self, targets: Sequence[ResolvedResource], planner: Planner) -> bool:
        """Look up, send, read back once. True when the quota cut it short."""
        self.sender.stay_alive()
        steps = self._steps(targets, planner)
        throttled = False
        answered: list[Answered] = []
        try:
            usual = [step for step in steps if step.target.name not in self.suspects]
            usual = self._first_of_each_type(usual, answered)
            for batch in batches(usual, self.batch_size):
                throttled |= self._send(batch, answered)
        finally:
            self._prove(answered)
        self._try_alone([step for step in steps if step.target.name in self.suspects], planner.known)
        return throttled

    def _steps(self, targets: Sequence[ResolvedResource], planner: Planner) -> list[Step]:
        """What to send in this round; what needs no sending is settled, what is in doubt waits."""
        found = {} if self.nothing_there else self._find(targets)
        targets = [target for target in targets if target.name not in self.result.settled]
        self.nothing_there = False  # from now on, what this round sends may be there
        gone: set[str] = set()
        unnamed = planner.to_read(targets, found)
        found |= read_locations(self.sender.client, unnamed, self._accounts, gone)
        self.result.waiting = self.doubts.held_back(targets, found)
        ready = [target for target in targets if target.name not in self.result.waiting]
        plan = planner.by_version(ready, found, gone, unnamed)
        contents = read_contents(self.sender.client, ((drift.target.type, drift.id) for drift in plan.drifts))
        for drift in plan.drifts:
            if drift.id in contents:
                self.doubts.saw(drift.target.name, contents[drift.id])
        made = self.referee.made if self.referee else nothing_made
        bases = read_bases(self.sender.client, planner.to_merge(plan.drifts), self.doubts.hashes, made)
        elsewhere = lead_elsewhere(self.sender.client, plan.drifts, contents, planner.known)
        compared = planner.by_content(plan.drifts, contents, self.doubts.actions, self.doubts.own, bases, elsewhere)
        if self.referee and (disputes := plan.disputes + compared.disputes):
            self.referee.keep(disputes)
        self.result.ruled |= plan.ruled | compared.ruled
        self.result.settled |= plan.settled | compared.settled
        return [replace(step, accounts=self._accounts.get(step.id, {})) for step in plan.steps + compared.steps]

    def _find(self, targets: Sequence[ResolvedResource]) -> dict[Name, list[Location]]:
        """What is there under the targets' identifiers, and under the ids that Medplum gave them."""
        self._accounts.clear()
        found = dict(find_locations(self.sender.client, targets, self._accounts))
        given = self.doubts.given_ids(target.name for target in targets if target.name not in found)
        gone: set[str] = set()
        found |= read_locations(self.sender.client, given, self._accounts, gone)
        for name, (resource_type, id_) in given.items():
            if id_ in gone and self.policy is not DriftPolicy.OVERWRITE:  # somebody deleted it before it was read back
                self.result.settled[name] = quarantined(Reason.TARGET_DELETED, f"{resource_type}/{id_}")
        return found

    def _prove(self, answered: Sequence[Answered]) -> None:
        """Settle what reads back as it was written. A create that cannot be read is in doubt: it has an id."""
        settled: dict[Name, Settlement] = {}
        try:
            contents = read_contents(self.sender.client, ((a.step.target.type, a.outcome.id) for a in answered))
            proofs = contents | read_overtaken(self.sender.client, answered, contents)
            settled = prove(self.sender.entity, answered, proofs, self.doubts.actions)
            self.result.settled |= settled
            for answer in answered[:1]:
                if answer.outcome.id in contents:
                    self.visibility.keep(answer.step.target.type, answer.outcome.id, contents[answer.outcome.id])
        finally:
            created = [a for a in answered if a.outcome.status == 201 and a.step.target.name not in settled]
            for note, unproven in map_reduce(created, lambda answer: answer.note).items():
                entries = [answered_entry(answer.step, answer.outcome) for answer in unproven]
                self.result.unproven[note] = entries
                self.doubts.add([SentBatch(note, "", self.sender.entity, 0.0, tuple(entries))])

    def _first_of_each_type(self, steps: Sequence[Step], answered: list[Answered]) -> list[Step]:
        """Send creates of a type that was never seen to be visible one by one, until one is; returns what is left.

        Where none was done, no other of the type is sent in this round. Raises WritesHidden.
        """
        tried: set[Name] = set()
        new = [
            step for step in steps if step.action is Action.CREATE and not self.visibility.is_known(step.target.type)
        ]
        for resource_type, creates in map_reduce(new, lambda step: step.target.type).items():
            with self.visibility.of_type(resource_type):
                for step in creates:
                    if self.visibility.is_known(resource_type):
                        break
                    tried.add(step.target.name)
                    self._send([step], answered)
                    if answered and answered[-1].step is step:
                        self.visibility.prove(resource_type, step.target.name, answered[-1].outcome.id)
                    elif step.target.name not in self.result.settled:
                        tried.update(create.target.name for create in creates)
                        break
        return [step for step in steps if step.target.name not in tried]

    def _try_alone(self, steps: Sequence[Step], known: Mapping[Name, CrosswalkEntry]) -> None:
        """Send what was refused without a place alone, between two writes that succeed: refused again, it counts.

        A database that fails is told as such a refusal. Where nothing of ours can be written to see whether it does, a
        refusal counts after `_ALONE_SECONDS`; where that fails, never: it is the server that is ill.
        """
        well = bool(steps) and self._can_write(known)
        for step in steps:
            name, answered = step.target.name, list[Answered]()
            over = not self.visibility.can_control and time.monotonic() - self.suspects[name] > _ALONE_SECONDS
            if not well and not over:
                return
            self._repeated.clear()
            try:
                self._send([step], answered)
            finally:
                self._prove(answered)
            well = self._can_write(known)
            if (refusal := self._repeated.pop(name, None)) and (well or over):
                self.result.settled[name] = refusal

    def _can_write(self, known: Mapping[Name, CrosswalkEntry]) -> bool:
        """Whether the server is well: a resource of ours, that the crosswalk knows if need be, can be put back."""
        if not self.visibility.can_control and (entry := next(iter(known.values()), None)):
            contents = read_contents(self.sender.client, [(entry.resource_type, entry.medplum_id)])
            for medplum_id, content in contents.items():
                self.visibility.keep(entry.resource_type, medplum_id, content)
        return self.visibility.can_write()

    # -- sending -----------------------------------------------------------------------------------

    def _send(self, steps: Sequence[Step], answered: list[Answered]) -> bool:
        """Post steps as one batch, split when it is too large; settle refusals, add what was done to `answered`.

        True when the quota refused an entry.
        """
        try:
            note, outcomes = self.sender.send(steps, [self._creates_conditionally(step) for step in steps])
        except RequestTooLarge:
            if len(steps) == 1:
                self.result.settled[steps[0].target.name] = rejected(Reason.TOO_LARGE)
                return False
            half = len(steps) // 2
            first = self._send(steps[:half], answered)
            return self._send(steps[half:], answered) or first
        except MedplumUnavailable:
            self._attempted(steps, [EntryOutcome(0, "no answer")] * len(steps))
            raise
        self._attempted(steps, outcomes)
        for step, outcome in zip(steps, outcomes, strict=True):
            if outcome.done and outcome.id:
                answered.append(Answered(step, outcome, note))
        for step, outcome in zip(steps, outcomes, strict=True):
            self._sort(step, outcome)
        return any(outcome.status == 429 for outcome in outcomes)

    def _sort(self, step: Step, outcome: EntryOutcome) -> None:
        """Settle a refusal that a repetition would not change. Raises Unauthorised."""
        if outcome.status in (401, 403):
            raise Unauthorised(
                f"Medplum refuses to write {step.target.type} (HTTP {outcome.status}).",
                "Check the client's access policy, then run again: it goes on where it stopped.",
            )
        name = step.target.name
        if outcome.status == 400 and self._creates_conditionally(step) and name not in self.refused:
            self.refused.add(name)  # who loses a race gets a 400, too: the next round looks it up
        elif outcome.status == 400 and not outcome.placed:
            self.suspects.setdefault(name, time.monotonic())
            self._repeated[name] = rejected(Reason.SERVER_REJECTED, "HTTP 400, invalid; it names no place")
        elif 400 <= outcome.status < 500 and outcome.status not in _RETRY_STATUSES:
            place = f"HTTP {outcome.status}, {outcome.issue or 'no reason'}"
            self.result.settled[name] = rejected(Reason.SERVER_REJECTED, place)

    def _creates_conditionally(self, step: Step) -> bool:
        """Whether a create needs its condition: others, or a batch that lost its answer, may create the same."""
        return step.action is Action.CREATE and (self.conditional or step.target.name in self.doubts.of)

    def _attempted(self, steps: Sequence[Step], outcomes: Sequence[EntryOutcome]) -> None:
        for step, outcome in zip(steps, outcomes, strict=True):
            self.result.attempts.append(Attempt(*step.target.name, step.action, outcome.status, outcome.issue[:500]))
