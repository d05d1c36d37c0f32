"""Write targets to Medplum in rounds: look up, plan, send, read back, until each target is settled.

The look-up before each round makes every repetition safe, whatever became of the round before.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from more_itertools import constrained_batches

from medferry.apply.lookup import find_locations, read_contents
from medferry.apply.plan import Action, DriftPolicy, Location, Planner, Settlement, Step, rejected
from medferry.apply.proof import Answered, prove
from medferry.apply.targets import ResolvedResource
from medferry.errors import TransientError
from medferry.fhir.bundle import by_name
from medferry.manifest.crosswalk import Attempt, CrosswalkEntry, Name
from medferry.medplum import budget as points
from medferry.medplum.answers import EntryOutcome
from medferry.medplum.client import MedplumClient
from medferry.medplum.errors import MedplumUnavailable, NotReached, RequestTooLarge, Throttled, Unauthorised
from medferry.medplum.limiter import BatchHealth, ConcurrencyLimiter, health_of

_ROUNDS = 20
"""Rounds without an answer, with conflicts or with failed read-backs before a slice gives up (and is retried later)."""

_RETRY_STATUSES = frozenset({0, 408, 409, 412, 423, 425, 429})
_BATCH_BYTES = 900_000
"""Medplum's default limit for a synchronous body is 1 MB, inflated."""
_ENVELOPE_BYTES = 300
"""More than an entry's request with the longest names takes."""

SETTLE_SECONDS = 5.0
"""A batch that lost its answer may be at work still, and would add some resource in such a time."""


class NotSettled(TransientError):
    """Medplum kept failing in ways that may pass; what is settled is recorded, the rest stays pending."""


@dataclass(slots=True)
class WriteResult:
    """How each target ended, and everything that was sent on the way."""

    settled: dict[Name, Settlement] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)


@dataclass(slots=True)
class Writer:
    """Writes the targets of one entity; one instance a call, so that nothing is shared between lanes but the client.

    `batch_size` is in entries. `conditional` creates find what another writer of the same keys has created meanwhile.
    `policy` says what becomes of what somebody else changed or deleted. `nothing_there` spares the first round its
    look-up. `stay_alive` is called often; it raises LeaseLost when the targets are another's now.
    """

    client: MedplumClient
    limiter: ConcurrencyLimiter
    entity: str
    batch_size: int
    conditional: bool = False
    policy: DriftPolicy = DriftPolicy.CONFLICT
    nothing_there: bool = False
    stay_alive: Callable[[], None] = lambda: None
    sleep: Callable[[float], None] = time.sleep
    result: WriteResult = field(default_factory=WriteResult)
    unanswered: dict[Name, Action] = field(default_factory=dict)
    """What was sent and lost its answer."""
    in_doubt: bool = False
    """A batch without an answer may be at work still."""
    refused: set[Name] = field(default_factory=set)
    """Conditional creates that got a 400 once: another writer may have been first."""

    def write(self, targets: Sequence[ResolvedResource], known: Mapping[Name, CrosswalkEntry]) -> WriteResult:
        """Settle every target. `known` is the crosswalk's view of them.

        Raises Unauthorised (the run must pause), NotSettled (with `result` holding what is settled).
        """
        rounds, cause = 0, "conflicts, failing entries or failed read-backs"
        planner = Planner(self.entity, known, self.policy)
        open_targets = list(targets)
        while open_targets:
            try:
                throttled = self._round(open_targets, planner)
            except Throttled:
                throttled = True
            except MedplumUnavailable as error:
                throttled, cause = False, error.problem
            left = [target for target in open_targets if target.name not in self.result.settled]
            rounds = 0 if throttled or len(left) < len(open_targets) else rounds + 1
            if rounds == _ROUNDS:
                raise NotSettled(
                    f"{len(left)} targets of {self.entity} could not be settled in {_ROUNDS} rounds: {cause}",
                    "Check Medplum's health; the task's retry, or a new run, goes on from here.",
                )
            if left and rounds:
                self.sleep(random.uniform(0.5, 1.0) * min(0.2 * 2**rounds, 20))
            open_targets = left
        return self.result

    # -- one round ---------------------------------------------------------------------------------

    def _round(self, targets: Sequence[ResolvedResource], planner: Planner) -> bool:
        """Look up, send, read back once. True when the quota cut it short."""
        self.stay_alive()
        steps = self._steps(targets, planner)
        throttled = False
        answered: list[Answered] = []
        try:
            for batch in constrained_batches(steps, _BATCH_BYTES, self.batch_size, _weight, strict=False):
                throttled |= self._send(batch, answered)
        finally:
            ids = ((answer.step.target.type, answer.outcome.id) for answer in answered)
            contents = read_contents(self.client, ids)
            self.result.settled |= prove(self.entity, answered, contents, self.unanswered)
        return throttled

    def _steps(self, targets: Sequence[ResolvedResource], planner: Planner) -> list[Step]:
        """What to send in this round; what needs no sending is settled."""
        found = {} if self.nothing_there else self._find_at_rest(targets)
        self.nothing_there = False  # from now on, what this round sends may be there
        plan = planner.by_version(targets, found)
        contents = read_contents(self.client, ((drift.target.type, drift.id) for drift in plan.drifts))
        compared = planner.by_content(plan.drifts, contents, self.unanswered)
        self.result.settled |= plan.settled | compared.settled
        return plan.steps + compared.steps

    def _find_at_rest(self, targets: Sequence[ResolvedResource]) -> dict[Name, list[Location]]:
        """What a look-up finds, when nothing that was sent before can add to it any more."""
        found = find_locations(self.client, targets)
        while self.in_doubt:
            self.sleep(random.uniform(1.0, 1.2) * SETTLE_SECONDS)
            self.stay_alive()
            before, found = found, find_locations(self.client, targets)
            self.in_doubt = found != before
        return found

    # -- sending -----------------------------------------------------------------------------------

    def _send(self, steps: Sequence[Step], answered: list[Answered]) -> bool:
        """Post steps as one batch, split when it is too large; settle refusals, add what was done to `answered`.

        True when the quota refused an entry.
        """
        try:
            outcomes = self._post(steps)
        except RequestTooLarge:
            if len(steps) == 1:
                self.result.settled[steps[0].target.name] = rejected("too-large")
                return False
            half = len(steps) // 2
            first = self._send(steps[:half], answered)
            return self._send(steps[half:], answered) or first
        except MedplumUnavailable as error:
            self._note(steps, [EntryOutcome(0, "no answer")] * len(steps))
            if not isinstance(error, NotReached):
                self.unanswered |= {step.target.name: step.action for step in steps}
                self.in_doubt = True
            raise
        self._note(steps, outcomes)
        for step, outcome in zip(steps, outcomes, strict=True):
            self._sort(step, outcome)
            if outcome.done and outcome.id:
                answered.append(Answered(step, outcome))
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
        elif 400 <= outcome.status < 500 and outcome.status not in _RETRY_STATUSES:
            place = f"HTTP {outcome.status}, {outcome.issue or 'no reason'}"
            self.result.settled[name] = rejected("server-rejected", place)

    def _creates_conditionally(self, step: Step) -> bool:
        """Whether a create needs its condition: others, or a batch that lost its answer, may create the same."""
        return step.action is Action.CREATE and (self.conditional or bool(self.unanswered))

    def _post(self, steps: Sequence[Step]) -> list[EntryOutcome]:
        """Send one batch in a free lane."""
        self.stay_alive()
        entries = [_entry(step, self._creates_conditionally(step)) for step in steps]
        cost = sum(
            points.CONDITIONAL_WRITE_IN_BATCH if self._creates_conditionally(step) else points.WRITE for step in steps
        )
        health = BatchHealth.FAILING
        with self.limiter.slot():
            try:
                outcomes = self.client.batch(entries, cost)
                health = health_of(outcome.status for outcome in outcomes)
                return outcomes
            except Throttled:
                health = BatchHealth.STRAINED
                raise
            except RequestTooLarge:
                health = BatchHealth.WELL
                raise
            finally:
                self.limiter.finished(health)

    def _note(self, steps: Sequence[Step], outcomes: Sequence[EntryOutcome]) -> None:
        for step, outcome in zip(steps, outcomes, strict=True):
            self.result.attempts.append(Attempt(*step.target.name, step.action, outcome.status, outcome.issue[:500]))


def _weight(step: Step) -> int:
    """Bytes of a step's entry; one too large for any batch goes alone, and is for the server to judge."""
    return len(step.target.body) + _ENVELOPE_BYTES


def _entry(step: Step, conditional: bool) -> dict[str, Any]:
    """The batch entry; a `conditional` create finds what carries its identifier already (``ifNoneExist``)."""
    target = step.target
    if step.action is Action.CREATE:
        condition = {"ifNoneExist": by_name(target.name)} if conditional else {}
        request = {"method": "POST", "url": target.type, **condition}
        return {"resource": orjson.Fragment(target.body), "request": request}
    return {
        "resource": orjson.Fragment(b'{"id":"%s",%s' % (step.id.encode(), target.body[1:])),
        "request": {"method": "PUT", "url": f"{target.type}/{step.id}", "ifMatch": f'W/"{step.version}"'},
    }
