"""What to do with each target of a round, by comparing what is wanted, what the crosswalk knows and what Medplum has.

Pure: nothing is read or sent here. First versions are compared; where they differ, contents.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import orjson

from medferry.apply.disputes import UNDISPUTED, Arbitration, Content, Dispute
from medferry.apply.targets import ResolvedResource
from medferry.apply.three_way import Change, Conflicting, merged_target
from medferry.fhir.canonical import Resource, canonical, has_content, holds_content, stored_hash
from medferry.fhir.identifiers import has_lost
from medferry.fhir.rulings import WHOLE, nobody
from medferry.manifest.crosswalk import Action, ConfirmedWrite, CrosswalkEntry, Effect, Name
from medferry.mapping.outcomes import Disposition, Reason

Location = tuple[str, str]
"""(Medplum id, version)."""


class DriftPolicy(StrEnum):
    """What becomes of a resource that is not in Medplum in the version that the crosswalk knows.

    Equal content is adopted under every policy: it needs no write.
    """

    CONFLICT = "conflict"
    """A person decides: it is quarantined as target-changed, target-deleted."""
    OVERWRITE = "overwrite"
    """Ours is written over, or, where Medplum calls it deleted, created again; another's is for a person."""
    MERGE = "merge"
    """What one side alone changed is kept of either; what both changed otherwise is for a person, as a deletion is."""


@dataclass(frozen=True, slots=True)
class Step:
    """What to send for a target: create it, or update the resource `id`, which is at `version`, with its `accounts`.

    These say who may see it (fhir.accounts): others have set them.
    """

    target: ResolvedResource
    action: Action
    id: str = ""
    version: str = ""
    accounts: dict[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Failed:
    """A target that will not be written without a person. `place` is "issue code at path", or ids."""

    disposition: Disposition
    reason: str
    place: str = ""


Settlement = ConfirmedWrite | Failed
"""How a target ended."""


@dataclass(frozen=True, slots=True)
class Drift:
    """A target whose resource is there, at `version`, but not as the crosswalk knows it."""

    target: ResolvedResource
    id: str
    version: str


@dataclass(slots=True)
class Plan:
    """What to send, what needs no sending, and what can be told only by its content."""

    steps: list[Step] = field(default_factory=list)
    settled: dict[Name, Settlement] = field(default_factory=dict)
    drifts: list[Drift] = field(default_factory=list)
    disputes: list[Dispute] = field(default_factory=list)
    ruled: set[Name] = field(default_factory=set)
    """In these, what was decided has told whose values stand."""


@dataclass(frozen=True, slots=True)
class Planner:
    """Plans the rounds of one entity's targets. `known` is the crosswalk's view of them."""

    entity: str
    known: Mapping[Name, CrosswalkEntry]
    policy: DriftPolicy
    arbitration: Arbitration = UNDISPUTED

    def to_read(
        self, targets: Iterable[ResolvedResource], found: Mapping[Name, Sequence[Location]]
    ) -> dict[Name, tuple[str, str]]:
        """Name → (resource type, id) of what no look-up `found`: it is hidden, without its identifier, or gone."""
        merges = self.policy is DriftPolicy.MERGE
        absent = [one for one in targets if not found.get(one.name) and (merges or self._creates_again(one))]
        written = [(target.name, entry) for target in absent if (entry := self._written(target))]
        return {name: (entry.resource_type, entry.medplum_id) for name, entry in written}

    def by_version(
        self,
        targets: Sequence[ResolvedResource],
        found: Mapping[Name, Sequence[Location]],
        gone: Collection[str] = (),
        unnamed: Collection[Name] = (),
    ) -> Plan:
        """Compare with what was `found` under the targets' identifiers, and under the ids of `to_read`.

        `gone` are those of these ids that Medplum calls deleted; `unnamed` is what was found by its id alone.
        """
        plan = Plan()
        for target in targets:
            present, entry = found.get(target.name, ()), self.known.get(target.name)
            if len(present) > 1:
                ids = ", ".join(medplum_id for medplum_id, _ in present[:3])
                plan.settled[target.name] = quarantined(Reason.AMBIGUOUS_TARGET, f"{len(present)} resources: {ids}")
            elif not present:
                self._absent(plan, target, entry, gone)
            elif entry and present[0] == (entry.medplum_id, entry.version_id) and target.name not in unnamed:
                self._known(plan, target, entry)
            else:
                plan.drifts.append(Drift(target, *present[0]))
        return plan

    def _known(self, plan: Plan, target: ResolvedResource, entry: CrosswalkEntry) -> None:
        """What is there is the version that the crosswalk knows; others may have added to it before."""
        only_ours = entry.wanted_hash is None and not self._guarded(target)
        if entry.wanted == target.hash and (only_ours or self.policy is not DriftPolicy.OVERWRITE):
            plan.settled[target.name] = self._kept(target, entry)
        elif only_ours or self.policy is DriftPolicy.OVERWRITE:
            plan.steps.append(Step(target, Action.UPDATE, entry.medplum_id, entry.version_id))
        else:
            plan.drifts.append(Drift(target, entry.medplum_id, entry.version_id))

    def _absent(
        self, plan: Plan, target: ResolvedResource, entry: CrosswalkEntry | None, gone: Collection[str]
    ) -> None:
        """What a policy hides is "not found", as what never was; a deletion is told. A second one would double it."""
        if entry and not self._creates_again(target):
            plan.settled[target.name] = quarantined(Reason.TARGET_DELETED, f"{target.type}/{entry.medplum_id}")
            if self.arbitration.sides(target, None):
                plan.ruled.add(target.name)  # it stays deleted
            elif self.policy is DriftPolicy.MERGE:
                plan.disputes.append(Dispute(target, entry.medplum_id))
        elif (written := self._written(target)) and written.medplum_id not in gone:
            hidden = f"{target.type}/{written.medplum_id}: unreadable"
            plan.settled[target.name] = quarantined(Reason.TARGET_CHANGED, hidden)
        else:
            plan.steps.append(Step(target, Action.CREATE))
            if self.arbitration.recreates(target):
                plan.ruled.add(target.name)

    def _creates_again(self, target: ResolvedResource) -> bool:
        """Whether it is asked for, or decided of this very deletion."""
        return self.policy is DriftPolicy.OVERWRITE or self.arbitration.recreates(target)

    def _guarded(self, target: ResolvedResource) -> bool:
        """Whether what is there is changed by Medplum's users alone."""
        return self.arbitration.by_plan(target).ours_alone is not nobody

    def _written(self, target: ResolvedResource) -> CrosswalkEntry | None:
        """What the crosswalk knows of the target; nothing, where that is of another type."""
        entry = self.known.get(target.name)
        return entry if entry and entry.resource_type == target.type else None

    def to_merge(self, drifts: Iterable[Drift]) -> list[Change]:
        """Those of which `by_content` needs what the mapping made before."""
        if self.policy is not DriftPolicy.MERGE:
            return []
        return [
            Change(drift.target, entry)
            for drift in drifts
            if (entry := self.known.get(drift.target.name)) and entry.medplum_id == drift.id
        ]

    def by_content(
        self,
        drifts: Iterable[Drift],
        contents: Mapping[str, Content],
        unanswered: Mapping[Name, Action],
        own: Callable[[Name, Content], bool] = lambda *_: False,
        bases: Mapping[Name, Resource] = MappingProxyType({}),
        elsewhere: Collection[str] = (),
    ) -> Plan:
        """Compare by `contents` (Medplum id → content). What was deleted meanwhile is left to the next round.

        `unanswered`: what was sent and lost its answer. Found done, it is an own write and not a drift; so is what
        `own` says was sent by an earlier worker, of a row that has changed since. `bases` are what the mapping made
        before, of those where a merge is wanted and that is certain. The documents of `elsewhere` are another's.
        """
        plan = Plan()
        for drift in drifts:
            target = drift.target
            if drift.id not in contents:
                continue
            version, text = contents[drift.id]
            effect, whole = done(unanswered.get(target.name)), drift.id not in elsewhere
            if whole and has_content(text, target.body):
                plan.settled[target.name] = confirmed(self.entity, target, (drift.id, version), effect)
                if self.arbitration.sides(target, contents[drift.id]):
                    plan.ruled.add(target.name)
            elif whole and self._stays(target, text, in_doubt=target.name in unanswered):
                plan.settled[target.name] = self._kept(target, self.known[target.name])
            elif self._may_write_over(drift) or (
                whole and (own(target.name, contents[drift.id]) or self._is_as_written(target, text))
            ):
                plan.steps.append(Step(target, Action.UPDATE, drift.id, drift.version))
            elif whole and self.to_merge([drift]):
                self._merge(plan, drift, bases.get(target.name), contents[drift.id], effect)
            else:
                plan.settled[target.name] = quarantined(Reason.TARGET_CHANGED, f"{target.type}/{drift.id}")
        return plan

    def _merge(self, plan: Plan, drift: Drift, base: Resource | None, content: Content, effect: Effect) -> None:
        """Bring what changed since `base` into what is there; nothing, where an earlier worker has done so."""
        (version, text), target, place = content, drift.target, f"{drift.target.type}/{drift.id}"
        sides = self.arbitration.sides(target, content)
        kept = canonical(base) if base is not None else None
        try:
            if base is None and WHOLE not in sides:
                raise Conflicting((WHOLE,))
            merged = merged_target(base or {}, target, text, self.arbitration.rulings(target, content))
        except Conflicting as conflict:
            plan.disputes.append(Dispute(target, drift.id, version, conflict.elements, kept, text))
            where = place if conflict.elements == (WHOLE,) else f"{place} at {conflict}"
            plan.settled[target.name] = quarantined(Reason.TARGET_CHANGED, where)
            return
        except ValueError:
            plan.settled[target.name] = quarantined(Reason.TARGET_CHANGED, place)
            return
        if merged.ruled or sides:
            plan.ruled.add(target.name)
        if merged.ruled and not sides:
            elements = tuple(sorted(merged.ruled))
            plan.disputes.append(Dispute(target, drift.id, version, elements, kept, text, merged.ruled))
        if has_content(text, merged.target.body):
            plan.settled[target.name] = confirmed(self.entity, merged.target, (drift.id, version), effect)
        else:
            plan.steps.append(Step(merged.target, Action.UPDATE, drift.id, version))

    def _may_write_over(self, drift: Drift) -> bool:
        """Whether it is asked for, and ours: what carries our identifier and is not known by its id is another's."""
        entry = self.known.get(drift.target.name)
        return self.policy is DriftPolicy.OVERWRITE and entry is not None and entry.medplum_id == drift.id

    def _is_as_written(self, target: ResolvedResource, text: bytes) -> bool:
        """Whether a later version is what we alone wrote: its accounts were set, or a change was put back."""
        entry = self.known.get(target.name)
        as_written = entry is not None and entry.wanted_hash is None and entry.content_hash == stored_hash(text)
        return as_written and not self._guarded(target)

    def _stays(self, target: ResolvedResource, text: bytes, in_doubt: bool) -> bool:
        """Whether the row is as it was and what others changed may stay, by the policy.

        A person decides unless all that we wrote is there, beside what others (a Bot) added. Where both sides are kept,
        their change is no matter of ours, unless something of ours may have come there unknown. The crosswalk keeps the
        version that we wrote.
        """
        entry = self.known.get(target.name)
        if entry is None or entry.wanted != target.hash or self.policy is DriftPolicy.OVERWRITE:
            return False
        if self.policy is DriftPolicy.MERGE:
            may = not in_doubt and self.arbitration.by_plan(target).theirs_alone is nobody
            return may and not has_lost(orjson.loads(text), target.name, orjson.loads(target.body))
        return holds_content(text, target.body) or (
            entry.wanted_hash is not None and entry.content_hash == stored_hash(text)
        )

    def _kept(self, target: ResolvedResource, entry: CrosswalkEntry) -> ConfirmedWrite:
        """The target as the crosswalk has it."""
        known = (entry.medplum_id, entry.version_id, entry.content_hash)
        return ConfirmedWrite(*target.name, self.entity, target.type, *known, Effect.UNCHANGED, entry.wanted_hash)


def done(action: Action | None) -> Effect:
    """What sending `action` has done; None: nothing was sent."""
    return {Action.CREATE: Effect.CREATED, Action.UPDATE: Effect.UPDATED, None: Effect.UNCHANGED}[action]


def confirmed(entity: str, target: ResolvedResource, location: Location, action: Effect) -> ConfirmedWrite:
    return ConfirmedWrite(*target.name, entity, target.type, *location, target.hash, action, target.wanted_hash)


def quarantined(reason: Reason, place: str) -> Failed:
    return Failed(Disposition.QUARANTINED, reason, place)


def rejected(reason: Reason, place: str = "") -> Failed:
    return Failed(Disposition.REJECTED, reason, place)
