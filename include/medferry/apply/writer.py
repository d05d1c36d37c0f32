"""Write targets to Medplum: look up, create the missing, update the known, read back, until each is settled.

HTTP success is not success: a target is proven when a read-back shows the id, version and content that were written
(a 200 that stored nothing is known from Medplum's tracker, #9811: docs/medplum.md, "Batches"). The look-up before each
round makes every repetition safe, whatever became of the round before.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import orjson

from medferry.apply.targets import ResolvedResource
from medferry.errors import TransientError
from medferry.fhir.bundle import by_name
from medferry.fhir.canonical import has_content
from medferry.manifest.crosswalk import Attempt, ConfirmedWrite, CrosswalkEntry, Name
from medferry.mapping.outcomes import Disposition
from medferry.medplum import budget as points
from medferry.medplum.answers import EntryOutcome
from medferry.medplum.client import PAGE, MedplumClient
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

T = TypeVar("T")


class NotSettled(TransientError):
    """Medplum kept failing in ways that may pass; what is settled is recorded, the rest stays pending."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A target that will not be written without a person. `place` is "issue code at path", or ids."""

    disposition: Disposition
    reason: str
    place: str = ""


@dataclass(frozen=True, slots=True)
class _Step:
    """What to do with a target in this round: create, update (of `id` at `version`), conditional."""

    target: ResolvedResource
    action: str
    id: str = ""
    version: str = ""


@dataclass(slots=True)
class WriteResult:
    """How each target ended, and everything that was sent on the way."""

    settled: dict[Name, ConfirmedWrite | Failed] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)


@dataclass(slots=True)
class Writer:
    """Writes the targets of one entity; one instance a call, so that nothing is shared between lanes but the client.

    `batch_size` is in entries. `overwrite` writes over resources that somebody else changed. `nothing_there` spares the
    first round its look-up. `stay_alive` is called often; it raises LeaseLost when the targets are another's now.
    """

    client: MedplumClient
    limiter: ConcurrencyLimiter
    entity: str
    batch_size: int
    conditional: bool = False
    overwrite: bool = False
    nothing_there: bool = False
    stay_alive: Callable[[], None] = lambda: None
    sleep: Callable[[float], None] = time.sleep
    result: WriteResult = field(default_factory=WriteResult)
    unanswered: dict[Name, str] = field(default_factory=dict)
    """What was sent and lost its answer: its action."""
    in_doubt: bool = False
    """A batch without an answer may be at work still."""
    refused: set[Name] = field(default_factory=set)
    """Conditional updates that were refused: several match, another was first, or they are invalid."""

    def write(self, targets: Sequence[ResolvedResource], known: Mapping[Name, CrosswalkEntry]) -> WriteResult:
        """Settle every target. `known` is the crosswalk's view of them.

        Raises Unauthorised (the run must pause), NotSettled (with `result` holding what is settled).
        """
        rounds, cause = 0, "conflicts, failing entries or failed read-backs"
        open_targets = list(targets)
        while open_targets:
            try:
                throttled = self._round(open_targets, known)
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

    def _round(self, targets: Sequence[ResolvedResource], known: Mapping[Name, CrosswalkEntry]) -> bool:
        """Look up, send, read back once. True when the quota cut it short."""
        self.stay_alive()
        conditional = [target for target in targets if self.conditional and target.name not in self.refused]
        others = [target for target in targets if not self.conditional or target.name in self.refused]
        steps = [_Step(target, "conditional") for target in conditional]
        steps += self._steps(others, known) if others else []
        throttled = False
        written: list[tuple[_Step, EntryOutcome]] = []
        try:
            for group in _batches(steps, self.batch_size):
                for step, outcome in self._send(group):
                    throttled |= outcome.status == 429
                    if outcome.done and outcome.id:
                        written.append((step, outcome))
        finally:
            self._read_back(written, known)
        return throttled

    def _steps(self, targets: Sequence[ResolvedResource], known: Mapping[Name, CrosswalkEntry]) -> list[_Step]:
        """Compare the server, the crosswalk and what is to be written; settle what needs no write."""
        found = {} if self.nothing_there else self._settled(targets)
        self.nothing_there = False  # from now on, what this round sends may be there
        steps: list[_Step] = []
        changed: list[tuple[ResolvedResource, str, str]] = []
        for target in targets:
            there, ours = found.get(target.name, []), known.get(target.name)
            if len(there) > 1:
                self._fail(target, "ambiguous-target", f"{len(there)} resources: {', '.join(i for i, _ in there[:3])}")
            elif not there:
                if ours and not self.overwrite:
                    self._fail(target, "target-deleted", f"{target.type}/{ours.medplum_id}")
                else:
                    steps.append(_Step(target, "create"))
            elif ours and there[0] == (ours.medplum_id, ours.version_id):
                if ours.content_hash == target.hash:
                    self._prove(target, *there[0], "unchanged")
                else:
                    steps.append(_Step(target, "update", *there[0]))
            else:
                changed.append((target, *there[0]))
        return steps + self._inspect(changed)

    def _settled(self, targets: Sequence[ResolvedResource]) -> dict[Name, list[tuple[str, str]]]:
        """What a look-up finds, when nothing that was sent before can add to it any more."""
        found = self._look_up(targets)
        while self.in_doubt:
            self.sleep(random.uniform(1.0, 1.2) * SETTLE_SECONDS)
            self.stay_alive()
            before, found = found, self._look_up(targets)
            self.in_doubt = found != before
        return found

    def _look_up(self, targets: Sequence[ResolvedResource]) -> dict[Name, list[tuple[str, str]]]:
        """Identifier → (id, version) of every resource that carries it."""
        found: dict[Name, list[tuple[str, str]]] = defaultdict(list)
        for (resource_type, system), values in _by_type_and_system(targets).items():
            wanted = set(values)
            for some in _chunks(values, PAGE // 2):  # half a page, so that duplicates are seen and not cut off
                for resource in self.client.by_identifier(resource_type, system, some):
                    for identifier in resource.get("identifier", []):
                        if identifier.get("system") == system and identifier.get("value") in wanted:
                            place = (resource["id"], resource["meta"]["versionId"])
                            found[system, identifier["value"]].append(place)
        return found

    def _inspect(self, changed: Sequence[tuple[ResolvedResource, str, str]]) -> list[_Step]:
        """Resources that are there but not as the crosswalk knows them: a lost answer of ours, or somebody's change.

        Equal content is adopted without a write; different content is a person's decision unless `overwrite`.
        """
        steps: list[_Step] = []
        by_type: dict[str, list[tuple[ResolvedResource, str, str]]] = defaultdict(list)
        for item in changed:
            by_type[item[0].type].append(item)
        for resource_type, items in by_type.items():
            for some in _chunks(items, PAGE):
                found = self.client.texts_by_id(resource_type, [medplum_id for _, medplum_id, _ in some])
                for target, medplum_id, version in some:
                    if medplum_id not in found:
                        continue  # deleted meanwhile: the next round looks again
                    present, text = found[medplum_id]
                    if has_content(text, target.body):
                        lost = self.unanswered.get(target.name, "")
                        self._prove(target, medplum_id, present, _DONE.get(lost, "unchanged"))
                    elif self.overwrite:
                        steps.append(_Step(target, "update", medplum_id, version))
                    else:
                        self._fail(target, "target-changed", f"{resource_type}/{medplum_id}")
        return steps

    # -- sending -----------------------------------------------------------------------------------

    def _send(self, steps: Sequence[_Step]) -> Iterator[tuple[_Step, EntryOutcome]]:
        """Post steps as one batch, split when it is too large; settle refusals; yield every outcome."""
        try:
            outcomes = self._post(steps)
        except RequestTooLarge:
            if len(steps) == 1:
                self._fail(steps[0].target, "too-large", disposition=Disposition.REJECTED)
                return
            half = len(steps) // 2
            yield from self._send(steps[:half])
            yield from self._send(steps[half:])
            return
        except MedplumUnavailable as error:
            self._note(steps, [EntryOutcome(0, "no answer")] * len(steps))
            if not isinstance(error, NotReached):
                self.unanswered |= {step.target.name: step.action for step in steps}
                self.in_doubt = True
            raise
        self._note(steps, outcomes)
        for step, outcome in zip(steps, outcomes, strict=True):
            if outcome.status in (401, 403):
                raise Unauthorised(
                    f"Medplum refuses to write {step.target.type} (HTTP {outcome.status}).",
                    "Check the client's access policy, then run again: it goes on where it stopped.",
                )
            if step.action == "conditional" and outcome.status in (400, 412):
                self.refused.add(step.target.name)  # the next round looks it up, and knows why
            elif 400 <= outcome.status < 500 and outcome.status not in _RETRY_STATUSES:
                place = f"HTTP {outcome.status}, {outcome.issue or 'no reason'}"
                self._fail(step.target, "server-rejected", place, disposition=Disposition.REJECTED)
            yield step, outcome

    def _post(self, steps: Sequence[_Step]) -> list[EntryOutcome]:
        """Send one batch in a free lane."""
        self.stay_alive()
        doubtful = self.conditional or bool(self.unanswered)
        cost = len(steps) * (points.CONDITIONAL_WRITE_IN_BATCH if doubtful else points.WRITE)
        entries = [_entry(step, doubtful) for step in steps]
        end = BatchHealth.FAILING
        with self.limiter.slot():
            try:
                outcomes = self.client.batch(entries, cost)
                end = health_of(outcome.status for outcome in outcomes)
                return outcomes
            except Throttled:
                end = BatchHealth.STRAINED
                raise
            except RequestTooLarge:
                end = BatchHealth.WELL
                raise
            finally:
                self.limiter.finished(end)

    def _note(self, steps: Sequence[_Step], outcomes: Sequence[EntryOutcome]) -> None:
        for step, outcome in zip(steps, outcomes, strict=True):
            self.result.attempts.append(Attempt(*step.target.name, step.action, outcome.status, outcome.issue[:500]))

    # -- proof -------------------------------------------------------------------------------------

    def _read_back(self, written: Sequence[tuple[_Step, EntryOutcome]], known: Mapping[Name, CrosswalkEntry]) -> None:
        """Prove what the server says it wrote: the same id, version and content come back from a search."""
        by_type: dict[str, list[tuple[_Step, EntryOutcome]]] = defaultdict(list)
        for step, outcome in written:
            by_type[step.target.type].append((step, outcome))
        for resource_type, items in by_type.items():
            for some in _chunks(items, PAGE):
                found = self.client.texts_by_id(resource_type, [outcome.id for _, outcome in some])
                for step, outcome in some:
                    version, text = found.get(outcome.id, ("", b""))
                    if not version or version != outcome.version:
                        continue  # not stored, or changed again: the next round looks it up
                    if has_content(text, step.target.body):
                        self._prove(step.target, outcome.id, version, _action(step, version, known))
                    elif step.action == "create" and outcome.status == 200:
                        continue  # `ifNoneExist` found one that was there before: the next round inspects it
                    else:
                        self._fail(step.target, "stored-differently", f"{resource_type}/{outcome.id}")

    def _prove(self, target: ResolvedResource, medplum_id: str, version: str, action: str) -> None:
        system, value = target.name
        self.result.settled[target.name] = ConfirmedWrite(
            system, value, self.entity, target.type, medplum_id, version, target.hash, action
        )

    def _fail(
        self, target: ResolvedResource, reason: str, place: str = "", disposition: Disposition = Disposition.QUARANTINED
    ) -> None:
        self.result.settled[target.name] = Failed(disposition, reason, place)


_DONE = {"create": "created", "update": "updated"}


def _entry(step: _Step, repeatable: bool) -> dict[str, Any]:
    """The batch entry; a second run of a `repeatable` create finds the first one's resource (``ifNoneExist``)."""
    target, body = step.target, orjson.Fragment(step.target.body)
    if step.action == "create":
        condition = {"ifNoneExist": by_name(target.name)} if repeatable else {}
        return {"resource": body, "request": {"method": "POST", "url": target.type, **condition}}
    if step.action == "conditional":
        return {"resource": body, "request": {"method": "PUT", "url": f"{target.type}?{by_name(target.name)}"}}
    return {
        "resource": orjson.Fragment(b'{"id":"%s",%s' % (step.id.encode(), target.body[1:])),
        "request": {"method": "PUT", "url": f"{target.type}/{step.id}", "ifMatch": f'W/"{step.version}"'},
    }


def _action(step: _Step, version: str, known: Mapping[Name, CrosswalkEntry]) -> str:
    """created, updated or unchanged, as the accounting counts it."""
    if step.action == "create":
        return "created"
    before = known.get(step.target.name)
    previous = step.version or (before.version_id if before else "")
    if step.action == "conditional" and before is None:
        return "created"
    return "unchanged" if version == previous else "updated"


def _by_type_and_system(targets: Sequence[ResolvedResource]) -> dict[tuple[str, str], list[str]]:
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for target in targets:
        system, value = target.name
        groups[target.type, system].append(value)
    return groups


def _batches(steps: Sequence[_Step], entries: int) -> Iterator[list[_Step]]:
    """Steps in groups within the bounds of entries and bytes; one too large by itself is for the server to judge."""
    group: list[_Step] = []
    size = 0
    for step in steps:
        weight = len(step.target.body) + _ENVELOPE_BYTES
        if group and (len(group) == entries or size + weight > _BATCH_BYTES):
            yield group
            group, size = [], 0
        group.append(step)
        size += weight
    if group:
        yield group


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
