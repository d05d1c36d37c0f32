"""What the gates of a wave's cutover are asked about, read from all systems; nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from statistics import median

import sqlalchemy as sa
from sqlglot.errors import SqlglotError

from medferry.cutover.acts import Act
from medferry.definition.capture import tables_read
from medferry.errors import MedferryError
from medferry.governance.forecast import FLIP, Span, Work, freeze, waits_between
from medferry.governance.readiness import GateName, Proof
from medferry.governance.safety import SafetyLook
from medferry.governance.verdict import verdict_of_verification
from medferry.manifest import checkpoints, consents
from medferry.manifest.checks import resources_read, whole_verifications
from medferry.manifest.clock import read_clock, seconds_between
from medferry.manifest.consents import Subject
from medferry.manifest.decisions import RecordedDecision, digest_of
from medferry.manifest.exceptions import ExceptionRow, ExceptionState, about_exception
from medferry.manifest.freezes import MOST, MeasuredFreeze, measured_freezes
from medferry.manifest.held_back import HeldBack
from medferry.manifest.rehearsals import Rehearsal, rehearsals_of
from medferry.manifest.unit_state import count_present, dead_now
from medferry.plan.people import Approval
from medferry.plan.questions import wave_ids
from medferry.plan.sections import zone_named
from medferry.runtime.environment import Environment
from medferry.runtime.legacy_gate import legacy_gate
from medferry.source.changes.cuts import writing
from medferry.source.changes.observe import writing_transactions_seconds
from medferry.source.database import snapshot
from medferry.source.gate.gate import GateState, UnitGate
from medferry.source.shape import shape_of
from medferry.sync.status import RECENT, WaveStatus, pending_records, status_of
from medferry.sync.wave import SyncedWave
from medferry.verification.harm import clinical_entities
from medferry.workflows.cutover_proof import APART
from medferry.workflows.four_eyes import was_made_by_two
from medferry.workflows.safety import look_at_safety

_DAY = 86_400.0

FREEZE_PARTS = {
    "drain": (Act.CLOSE_LEGACY,),
    "catch_up": (Act.FENCE, Act.FINAL_CUT),
    "check": (Act.VERIFY,),
    "flip": (Act.REVERSE_START, Act.SHUT_LEGACY, Act.OPEN_MEDPLUM),
}
"""The acts of which each part of a freeze consists, in their order."""


@dataclass(frozen=True)
class Facts:
    """Of one wave; each is read once, when it is first asked for.

    `by_stages`: its cutover would be done as Airflow does it, each stage by a process of its own.
    """

    environment: Environment
    wave: str
    by_stages: bool = False

    @cached_property
    def own_units(self) -> list[str]:
        """Without the shared ones, which go with every wave."""
        plan = self.environment.migration.plan
        return list(plan.wave(self.wave).units) if plan.waves else plan.unit_ids

    @cached_property
    def units(self) -> list[str]:
        return SyncedWave(self.environment, self.wave).units

    @cached_property
    def now(self) -> datetime:
        """By the manifest's clock."""
        return datetime.fromisoformat(self._clock)

    @cached_property
    def _clock(self) -> str:
        with self.environment.manifest.begin() as connection:
            return read_clock(connection)

    def days_since(self, time: str) -> float:
        return max(0.0, seconds_between(time, self._clock) / _DAY)

    @cached_property
    def status(self) -> WaveStatus:
        return status_of(SyncedWave(self.environment, self.wave))

    @cached_property
    def legacy_gates(self) -> Mapping[str, UnitGate]:
        """Unit → its gate, all of them proven to be at work. Raises GateBroken, MedferryError."""
        gate = legacy_gate(self.environment)
        with writing(self.environment.capture, gate) as connection:
            gate.check(connection)
            return {each.unit: each for each in gate.all(connection)}

    @cached_property
    def missing_before(self) -> list[str]:
        """The waves that come before and are not flipped: a unit that is written in the legacy database is not."""
        plan = self.environment.migration.plan
        before = plan.before(self.wave, wave_ids(plan))
        return [each for each in before if not self.is_flipped(each)]

    def is_flipped(self, wave: str) -> bool:
        units = self.environment.migration.plan.wave(wave).units
        return all(self.legacy_gates[unit].state is GateState.SHUT for unit in units)

    @cached_property
    def dead(self) -> list[tuple[str, str, str]]:
        with self.environment.manifest.begin() as connection:
            return dead_now(connection, self.environment.migration.name, self.units)

    @cached_property
    def held_back(self) -> list[HeldBack]:
        return self.status.held_back

    @cached_property
    def shape(self) -> str:
        """Digest of the tables that are read, and of the mappings that were approved for them."""
        migration = self.environment.migration
        try:
            tables = {table for entity in migration.entities.values() for table in tables_read(entity)}
        except SqlglotError:
            remedy = "Write it so that it can be parsed."
            raise MedferryError("an entity's SQL names its tables in a way that nobody reads.", remedy) from None
        with snapshot(self.environment.source) as connection:
            shape = shape_of(connection, tables)
        versions = sorted((name, spec.version, spec.status) for name, spec in migration.specs.items())
        return digest_of(shape, *versions)

    @cached_property
    def proof(self) -> Proof | None:
        """Of the newest verification of all that the wave holds, a sample only where there is no other."""
        migration, units = self.environment.migration, {*self.units}
        with self.environment.manifest.begin() as connection:
            found = [
                one
                for one in whole_verifications(connection, migration.name)
                if not one.subject["entities"] and units <= {*(one.subject["units"] or units)}
            ]
            if not found:
                return None
            newest = next((one for one in found if one.sample_share == 1), found[0])
            verdict = verdict_of_verification(connection, newest.id)
            changed = count_present(connection, migration.name, self.units, newest.started_at)
            accepted = [one for one in verdict.accepted if self._by_two(connection, one)]
        undecided = [e for e in verdict.exceptions if e.decision != ExceptionState.FIXED and e not in accepted]
        return Proof(
            newest.id,
            verdict.proven_but_for_in_flight,
            verdict.text(),
            self.days_since(newest.started_at),
            newest.fingerprint == migration.fingerprint,
            newest.sample_share,
            changed + verdict.in_flight,
            len(undecided),
        )

    def _by_two(self, connection: sa.Connection, accepted: ExceptionRow) -> bool:
        plan, about = self.environment.migration.plan, about_exception(accepted.id)
        return was_made_by_two(connection, plan, Approval.EXCEPTION, about)

    @cached_property
    def transactions(self) -> list[int] | None:
        """Ages in seconds of those that have written and are open; None: the account does not see them."""
        journal = SyncedWave(self.environment, self.wave).journal
        with snapshot(self.environment.source) as connection:
            return writing_transactions_seconds(journal, connection)

    @cached_property
    def cuts(self) -> list[tuple[int, float]]:
        """(records, seconds until all were settled) of the cuts lately made."""
        with self.environment.manifest.begin() as connection:
            recent = checkpoints.recent(connection, self.environment.migration.name, self.wave, RECENT)
        return [(cut.records, seconds_between(cut.cut_at, cut.applied_at)) for cut in recent if cut.applied_at]

    @cached_property
    def verifications(self) -> list[tuple[int, float]]:
        """(resources, seconds) of the whole verifications that there were, newest first."""
        with self.environment.manifest.begin() as connection:
            return [
                (resources_read(connection, one.id), seconds_between(one.started_at, one.finished_at))
                for one in whole_verifications(connection, self.environment.migration.name)
            ]

    @cached_property
    def safety(self) -> SafetyLook:
        """Both systems as they are now; what a named person leaves behind is not missed."""
        clinical = {*clinical_entities(self.environment.migration.specs)}
        dead = [] if self.accepted(GateName.DEAD_LETTERS) else [one for one in self.dead if one[0] in clinical]
        return look_at_safety(self.environment, self.units, dead)

    @cached_property
    def rehearsals(self) -> list[Rehearsal]:
        """The newest first."""
        with self.environment.manifest.begin() as connection:
            return rehearsals_of(connection, self.environment.migration.name, self.wave)

    @property
    def rehearsal(self) -> Rehearsal | None:
        """The newest."""
        return next(iter(self.rehearsals), None)

    @property
    def forecast(self) -> list[Span]:
        """What a freeze would take now; the whole last. Transactions that the account does not see are none.

        Its acts by the freezes that the wave had, else by its rehearsals, else by the freezes of other waves.
        """
        waits = any(each.pending for each in self.status.entities)
        pending = pending_records(SyncedWave(self.environment, self.wave)) if waits else 0
        own = [one for one in self.freezes if one.wave == self.wave]
        flips = [one.flip for one in self.freezes]
        rehearsed = [_as_freeze(self.wave, one, flips) for one in self.rehearsals[:MOST]]
        return freeze(
            self.transactions or (),
            Work(pending, self.cuts),
            Work(max(pending, self._to_check), self.verifications),  # what is pending was often decided lately, too
            own or rehearsed or self.freezes,
            waits_between(self.freezes, self.by_stages),
        )

    @cached_property
    def freezes(self) -> list[MeasuredFreeze]:
        """The newest of the migration, newest first: of any of its waves, they share the systems."""
        with self.environment.manifest.begin() as connection:
            return measured_freezes(connection, self.environment.migration.name, FREEZE_PARTS)

    @property
    def _to_check(self) -> int:
        """The records that a freeze verifies again: a cutover first verifies everything, and users go on meanwhile."""
        if not self.verifications:
            return self.count(self.units)
        _, seconds = self.verifications[0]
        with self.environment.manifest.begin() as connection:
            since = read_clock(connection, -(APART.total_seconds() + seconds))
            return count_present(connection, self.environment.migration.name, self.units, since)

    @property
    def tolerance(self) -> float | None:
        """The longest freeze in seconds, of all units of the wave; None: nobody has said."""
        downtime = self.environment.migration.plan.downtime
        return downtime.seconds_of(self.own_units) if downtime else None

    def subject(self, gate: GateName) -> Subject:
        """What is accepted with a gate, as it is now."""
        about: dict[GateName, Callable[[], str]] = {
            GateName.ORDER: lambda: digest_of(*self.missing_before),
            GateName.SCHEMA: lambda: self.shape,
            GateName.SAFETY: lambda: self.safety.digest,
            GateName.DEAD_LETTERS: lambda: digest_of(*self.dead),
            GateName.HELD_BACK: lambda: digest_of(*((h.entity, h.key, h.path, h.reason) for h in self.held_back)),
        }
        return Subject(self.environment.migration.name, self.wave, gate, about[gate]())

    def accepted(self, gate: GateName) -> RecordedDecision | None:
        """By two people, where the plan asks for them: also of what one has accepted before it did."""
        subject, plan = self.subject(gate), self.environment.migration.plan
        with self.environment.manifest.begin() as connection:
            found = consents.consent_to(connection, subject)
            by_two = found and was_made_by_two(connection, plan, Approval.READINESS, subject.name)
        return found if by_two else None

    def count(self, units: list[str]) -> int:
        with self.environment.manifest.begin() as connection:
            return count_present(connection, self.environment.migration.name, units)

    @cached_property
    def today(self) -> date:
        """In the timeline's zone."""
        timeline = self.environment.migration.plan.timeline
        return self.now.astimezone(zone_named(timeline.zone)).date() if timeline else self.now.date()


def _as_freeze(wave: str, of: Rehearsal, flips: Sequence[float]) -> MeasuredFreeze:
    """What a rehearsal says of a freeze. It waited for nobody, and flipped nothing: as `flips` took, of other waves."""
    took = {act: of.measured.parts.get(act, 0.0) for act in Act}
    (caught_up, _), (checked, _) = of.measured.caught_up, of.measured.checked
    flip = median(flips) if flips else took[Act.REVERSE_START] + FLIP[1]
    parts = (0.0, took[Act.FENCE] + took[Act.FINAL_CUT], took[Act.VERIFY], flip)
    return MeasuredFreeze(wave, of.at, *parts, 0.0, caught_up, checked)
