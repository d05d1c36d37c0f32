"""Medplum's side of a unit's gate: the AccessPolicies of its users, without writing until the unit is in Medplum.

A policy carries the epoch of the attempt that closed it last in a tag, and each act replaces the version that it has
read: who was overtaken by a later attempt does nothing. Closing stops no request that is at work: whoever closes has to
wait for those.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, partial
from typing import Any

import orjson

from medferry.cutover.probe import ProbeUnclear, Tried, try_write
from medferry.definition.gate import MedplumGateRules, PolicyRule, tag_system
from medferry.errors import MedferryError
from medferry.manifest.policy_gates import note_of, note_open, note_proven
from medferry.medplum import budget as points
from medferry.medplum.access_policy import PolicyUnfit, lets_write, of_unit, with_closed, with_opened
from medferry.medplum.client import MedplumClient
from medferry.runtime.environment import Environment
from medferry.source.gate.gate import GateMoved

_TRIES = 5
"""Somebody may close another unit in the same policy meanwhile."""

_OF_SERVER = ("versionId", "lastUpdated", "author", "project")


class NotClosed(MedferryError):
    """A user of the unit could write in Medplum although the policy is closed: there is another way in."""


class NeverProven(MedferryError):
    """A probe that was never seen to write cannot prove anything by failing."""


class PolicyState(StrEnum):
    """Whether the users of a unit may write in Medplum."""

    OPEN = "open"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class UnitPolicies:
    """Of a unit: open where any of its policies is. `epoch`: the highest of theirs; -1: no act was ever done."""

    unit: str
    state: PolicyState
    epoch: int


@dataclass(frozen=True, slots=True)
class _Read:
    version: str
    body: dict[str, Any]
    places: list[int]
    epoch: int

    @property
    def entries(self) -> list[dict[str, Any]]:
        return list(self.body.get("resource", []))

    @property
    def is_open(self) -> bool:
        return any(lets_write(self.entries[place]) for place in self.places)


@dataclass(frozen=True)
class MedplumGate:
    """The policies of the units of a migration. `client` is Medferry's own, which may write AccessPolicies."""

    environment: Environment
    client: MedplumClient

    @cached_property
    def rules(self) -> MedplumGateRules:
        gate = self.environment.migration.gate
        if gate is None or gate.medplum is None:
            name = self.environment.migration.name
            raise MedferryError(
                f"The migration {name} does not say whose policies Medplum's side of the gates are.",
                "Write `medplum` into gate.yaml: docs/runbooks/cutover.md.",
            )
        return gate.medplum

    def read(self, unit: str) -> UnitPolicies:
        """As the policies say. Raises PolicyUnfit where there is none, or none with an entry of the unit."""
        found = [self._read(rule) for rule in self._of(unit)]
        state = PolicyState.OPEN if any(one.is_open for one in found) else PolicyState.CLOSED
        return UnitPolicies(unit, state, max(one.epoch for one in found))

    def entries(self, rule: PolicyRule) -> list[dict[str, Any]]:
        """The entries of a policy that are the unit's, as they are now."""
        read = self._read(rule)
        return [read.entries[place] for place in read.places]

    def close(self, unit: str, epoch: int) -> bool:
        """Let no user of a unit write any more, from the next request on; returns whether any could before.

        `epoch`: of the attempt. Raises GateMoved where a later one has acted, and as `prove_closed`.
        """
        was_open = False
        for rule in self._of(unit):
            was_open |= self._close(rule, epoch)
        self.prove_closed(unit)
        return was_open

    def open(self, unit: str, epoch: int) -> None:
        """Let the users of a unit write, as they could before it was closed; to be repeated without harm.

        Raises GateMoved unless it was closed at this very epoch; PolicyChanged, ProbeUnclear.
        """
        for rule in self._of(unit):
            before = self._before(rule)
            self._replace(rule, epoch, partial(_opened, before), least=epoch)
            if try_write(self.environment, self.client, rule) is not Tried.WRITTEN:
                raise ProbeUnclear(
                    f"The probe {rule.probe} is refused in {unit}, which is open again.",
                    "Look at the policy in Medplum, and at who the probe is.",
                )
            self._note_proven(rule)

    def prove_closed(self, unit: str) -> None:
        """Raises NotClosed, NeverProven, ProbeUnclear."""
        if self.read(unit).state is PolicyState.OPEN:
            raise NotClosed(f"The users of {unit} may write in Medplum.", "Close it: `medferry cutover prepare`.")
        for rule in self._of(unit):
            note = self._note(rule)
            if note is None or note.proven_at is None:
                raise NeverProven(
                    f"The policy {rule.policy} of {unit} was closed before its probe was ever seen to write.",
                    "Give the policy its writable entries back, in Medplum, and close it by Medferry.",
                )
            if try_write(self.environment, self.client, rule) is Tried.WRITTEN:
                raise NotClosed(
                    f"The probe {rule.probe} could write in {unit} although its policy is closed.",
                    "Look for another policy, or another membership, of this user.",
                )

    # -- one policy --------------------------------------------------------------------------------

    def _close(self, rule: PolicyRule, epoch: int) -> bool:
        read = self._read(rule)
        if read.is_open:
            if try_write(self.environment, self.client, rule) is not Tried.WRITTEN:
                raise ProbeUnclear(
                    f"The probe {rule.probe} is refused while the policy of {rule.unit} lets it write.",
                    "Correct `creates`, or the probe's membership: its failing would prove nothing.",
                )
            with self.environment.manifest.begin() as connection:
                note_open(connection, self._migration, rule.policy, rule.unit, read.version)
                note_proven(connection, self._migration, rule.policy, rule.unit)
        self._replace(rule, epoch, lambda now: with_closed(now.entries, now.places))
        return read.is_open

    def _replace(
        self,
        rule: PolicyRule,
        epoch: int,
        wanted: Callable[[_Read], Sequence[dict[str, Any]]],
        least: int = -1,
    ) -> None:
        """Put other entries into a policy, and the epoch, unless both are there. Raises GateMoved."""
        for _ in range(_TRIES):
            read = self._read(rule)
            if not least <= read.epoch <= epoch:
                raise GateMoved(
                    f"The policy of {rule.unit} is at epoch {read.epoch}, and this was decided on epoch {epoch}.",
                    "Look at it anew: `medferry cutover status`.",
                )
            entries = list(wanted(read))
            if entries == read.entries and read.epoch == epoch:
                return
            self._put(rule, read, entries, epoch)
        raise GateMoved(f"The policy of {rule.unit} is changed by others again and again.", "Find out by whom.")

    def _put(self, rule: PolicyRule, read: _Read, entries: list[dict[str, Any]], epoch: int) -> None:
        """Written only over the version that was read; what became of it the next look tells."""
        meta = {name: value for name, value in read.body.get("meta", {}).items() if name not in _OF_SERVER}
        system, mark = tag_system(self.environment.migration.plan.base), f"{rule.unit}:"
        others = [one for one in meta.get("tag", []) if not _is_epoch(one, system, mark)]
        tags = [*others, {"system": system, "code": f"{mark}{epoch}"}]
        body = {**read.body, "meta": {**meta, "tag": tags}, "resource": entries}
        request = {"method": "PUT", "url": f"AccessPolicy/{rule.policy}", "ifMatch": f'W/"{read.version}"'}
        [outcome] = self.client.batch([{"resource": body, "request": request}], points.WRITE)
        if outcome.status not in (200, 201, 409, 412):
            raise PolicyUnfit(
                f"Medplum did not take the policy {rule.policy} ({outcome.status}, {outcome.issue or 'no reason'}).",
                "Let Medferry's client write AccessPolicies.",
            )

    def _read(self, rule: PolicyRule) -> _Read:
        version, body = self._version(rule, rule.policy)
        places = of_unit(body.get("resource", []), self._types, rule.criteria)
        if not places:
            raise PolicyUnfit(
                f"The policy {rule.policy} has no entry for what belongs to {rule.unit}.",
                "Correct the policy, or `policies` in gate.yaml.",
            )
        return _Read(version, body, places, self._epoch(rule, body))

    def _epoch(self, rule: PolicyRule, body: dict[str, Any]) -> int:
        system, mark = tag_system(self.environment.migration.plan.base), f"{rule.unit}:"
        tags = [one["code"] for one in body.get("meta", {}).get("tag", []) if _is_epoch(one, system, mark)]
        return max((int(code.removeprefix(mark)) for code in tags), default=-1)

    def _before(self, rule: PolicyRule) -> list[dict[str, Any]]:
        """The unit's entries as they were before it was closed."""
        note = self._note(rule)
        if note is None:
            raise NeverProven(f"The policy of {rule.unit} was never closed by Medferry.", "Open it by hand.")
        _, body = self._version(rule, f"{rule.policy}/_history/{note.open_version}")
        entries = body.get("resource", [])
        return [entries[place] for place in of_unit(entries, self._types, rule.criteria)]

    def _version(self, rule: PolicyRule, place: str) -> tuple[str, dict[str, Any]]:
        found = self.client.read_each([("AccessPolicy", place)]).get(place)
        if found is None:
            raise PolicyUnfit(
                f"Medplum has not the policy {rule.policy} of {rule.unit} (AccessPolicy/{place}).",
                "Correct gate.yaml, or let Medferry's client read AccessPolicies.",
            )
        return found[0], orjson.loads(found[1])

    def _note(self, rule: PolicyRule) -> Any:
        with self.environment.manifest.begin() as connection:
            return note_of(connection, self._migration, rule.policy, rule.unit)

    def _note_proven(self, rule: PolicyRule) -> None:
        with self.environment.manifest.begin() as connection:
            note_proven(connection, self._migration, rule.policy, rule.unit)

    def _of(self, unit: str) -> list[PolicyRule]:
        found = self.rules.of_unit(unit)
        if not found:
            raise PolicyUnfit(f"gate.yaml names no policy of {unit}.", "Name those of its users, each with a probe.")
        return found

    @property
    def _migration(self) -> str:
        return self.environment.migration.name

    @cached_property
    def _types(self) -> set[str]:
        """What the mappings make: these resources have to be written in one system alone."""
        return {kind for spec in self.environment.migration.specs.values() for kind in spec.produces.values()}


def _opened(before: Sequence[dict[str, Any]], read: _Read) -> list[dict[str, Any]]:
    return with_opened(read.entries, before)


def _is_epoch(tag: dict[str, Any], system: str, mark: str) -> bool:
    return tag.get("system") == system and str(tag.get("code", "")).startswith(mark)
