"""The conflicts of a chunk: what is decided about them goes to the planner, what is found is kept for people.

Values go into the store first, then the line that points to them is written; what the plan decides is a line as well,
before anything is sent, so that the loser is kept whatever dies. It is applied in the transaction that records the
write.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import orjson
import sqlalchemy as sa

from medferry.apply.disputes import Arbitration, Decided, Dispute
from medferry.apply.doubts import Doubts
from medferry.apply.plan import Settlement
from medferry.apply.targets import ResolvedResource
from medferry.apply.three_way import Made
from medferry.errors import MedferryError, StagingError
from medferry.fhir.rulings import Rulings
from medferry.governance.authority import rulings
from medferry.manifest import conflict_decisions, conflicts
from medferry.manifest.conflicts import (
    Conflict,
    ConflictState,
    Direction,
    KeptValue,
    NewConflict,
    Versions,
    conflicts_of_names,
)
from medferry.manifest.crosswalk import ConfirmedWrite, Name
from medferry.manifest.decisions import BY_PLAN
from medferry.manifest.kinds import wave_of_kind
from medferry.manifest.source_records import SourceOfRecord, sources_of
from medferry.runtime.environment import Environment
from medferry.runtime.hold import Hold
from medferry.store.values import Pointer


@dataclass(slots=True)
class Referee:
    """Of one chunk. `records` are its source records by key, as the run has read them."""

    hold: Hold
    entity: str
    records: Mapping[str, SourceOfRecord] = field(default_factory=dict)
    live: Mapping[Name, Conflict] = field(default_factory=dict)

    def arbitration(self, names: Collection[Name], doubts: Doubts) -> Arbitration:
        """What is decided now about some resources of the chunk's records."""
        run = self.hold.run
        with self.hold.environment.manifest.begin() as connection:
            self.records = sources_of(connection, run.id, self.entity, {key for _, key in names})
            self.live = conflicts_of_names(connection, run.migration, names)
            decided = [one for one in self.live.values() if one.state is ConflictState.DECIDED]
            sides = conflict_decisions.sides_of(connection, decided)
        found = {one.name: Decided(one.versions, sides[one.id]) for one in decided}
        digests = {key: record.digest for key, record in self.records.items()}
        return Arbitration(found, digests, self._by_plan, doubts.sent)

    def keep(self, disputes: Sequence[Dispute]) -> None:
        """Have each recorded with the values of both sides, once. Raises LeaseLost, KeyMissing, StagingError."""
        run = self.hold.run
        with self.hold.environment.manifest.begin() as connection:
            names = [dispute.target.name for dispute in disputes]
            known = conflicts.newest_of_names(connection, run.migration, names)
        for dispute in disputes:
            before, versions = known.get(dispute.target.name), self._versions(dispute)
            new = None if _is_known(before, versions, dispute.elements) else self._new(dispute, versions)
            with self.hold.writing() as connection:
                found = conflicts.record_conflict(connection, new) if new else before
                assert found is not None
                for element in dispute.sides.keys() & {*found.paths} if found.state in conflicts.LIVE else ():
                    side, reason = dispute.sides[element], "The authority that the plan gives."
                    conflict_decisions.decide(connection, found, [element], side, BY_PLAN, reason)

    def settle(self, connection: sa.Connection, settled: Mapping[Name, Settlement], ruled: Collection[Name]) -> None:
        """What was decided about these is done, or was no matter any more; to be called where they are recorded."""
        ends = {name: end for name, end in settled.items() if isinstance(end, ConfirmedWrite) or name in ruled}
        if not ends:
            return
        live = conflicts_of_names(connection, self.hold.run.migration, ends)
        applied = live.keys() & {*ruled}
        conflicts.supersede(connection, [one.id for name, one in live.items() if name not in applied])
        versions = {live[name].id: _version(ends[name]) for name in applied}
        conflicts.set_applied(connection, versions)

    def made(self, name: Name) -> Made:
        """What the mapping had made in the versions in which decisions were applied."""
        return made_in_decisions(self.hold.environment, name)

    def _by_plan(self, target: ResolvedResource) -> Rulings:
        record = self.records.get(target.name[1])
        plan = self.hold.environment.migration.plan
        return rulings(plan, record.unit if record else "", self.entity, target.type)

    def _versions(self, dispute: Dispute) -> Versions:
        record = self.records.get(dispute.target.name[1])
        return Versions(dispute.version, record.digest if record else "", dispute.target.hash)

    def _new(self, dispute: Dispute, versions: Versions) -> NewConflict:
        environment, run, target = self.hold.environment, self.hold.run, dispute.target
        record, matrix = self.records.get(target.name[1]), environment.migration.plan.authority

        def kept(value: bytes | None) -> KeptValue | None:
            if value is None:
                return None
            try:
                pointer = environment.values.put(value)
            except OSError as error:
                raise StagingError(
                    f"The values of a conflict could not be kept ({type(error).__name__}, errno {error.errno}).",
                    "Check space and rights of the staging URL; the next cycle goes on.",
                ) from None
            return KeptValue(pointer.name, pointer.digest)

        return NewConflict(
            run.migration,
            wave_of_kind(run.kind),
            record.unit if record else "",
            self.entity,
            target.name,
            target.type,
            dispute.medplum_id,
            dispute.elements,
            Direction.FORWARD,
            versions,
            kept(dispute.base),
            kept(target.body),
            kept(dispute.theirs),
            matrix.conflicts_owner,
            matrix.conflicts_due_days,
        )


def made_in_decisions(environment: Environment, name: Name) -> Made:
    """Medplum's version → what the mapping had made of the row when a decision was applied in it."""
    with environment.manifest.begin() as connection:
        applied = conflicts.applied_of_name(connection, environment.migration.name, name)
    found = {}
    for one in applied:
        if one.legacy is not None and one.applied_version:
            try:
                found[one.applied_version] = orjson.loads(environment.values.get(Pointer(*one.legacy)))
            except (MedferryError, OSError):  # without it the base is not certain, and a person decides
                continue
    return found


def _is_known(before: Conflict | None, versions: Versions, elements: Collection[str]) -> bool:
    """Whether the newest conflict of a resource is this one; applied, it may be found again by a repeated run."""
    return before is not None and before.state is not ConflictState.SUPERSEDED and before.is_of(versions, elements)


def _version(end: Settlement) -> str:
    return end.version_id if isinstance(end, ConfirmedWrite) else ""
