"""Bring a resource that users created and the row that was inserted for it together: the identifier, the crosswalk."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import NamedTuple

import orjson
import sqlalchemy as sa

from medferry.apply.entry import batch_entry
from medferry.apply.plan import Step
from medferry.apply.targets import ResolvedResource
from medferry.fhir.accounts import accounts_of
from medferry.fhir.additions import split
from medferry.fhir.canonical import Resource, canonical, is_text, stored_hash
from medferry.fhir.footprint import footprint_of
from medferry.fhir.identifiers import names_of
from medferry.fhir.merge import completed, merge
from medferry.fhir.rulings import Rulings
from medferry.fhir.sides import Side
from medferry.manifest import leases, runs
from medferry.manifest.births import NotedBirth, close_birth
from medferry.manifest.crosswalk import Action, ConfirmedWrite, Effect, Name, find_targets, record_confirmed
from medferry.manifest.held_back import HeldBack, HeldReason, set_held_back
from medferry.manifest.runs import RunStatus, SliceStage
from medferry.manifest.source_records import SourceRecord, write_records
from medferry.mapping.inverse import Inexpressible
from medferry.mapping.outcomes import Disposition
from medferry.medplum import budget as points
from medferry.medplum.client import MedplumClient
from medferry.medplum.errors import Unauthorised
from medferry.runtime.staging import dump_row, row_digest
from medferry.source.births import BornLine
from medferry.source.database import snapshot
from medferry.source.lookup import row_of_key
from medferry.source.shown_keys import shown_key
from medferry.source.writeback import Row
from medferry.stages.key_slices import scope_of_keys, slices_of_keys
from medferry.stages.prepare import begin
from medferry.sync.carry_out import OPTIONS
from medferry.sync.made import Made, Maker
from medferry.sync.reverse_decide import HALF
from medferry.sync.wave import SyncedWave

Place = tuple[str, str]
"""(resource type, id)."""

_TRIES = 5
"""Somebody may write the resource at the same moment, each time; then the next cycle goes on."""


class _Known(NamedTuple):
    """The resource as it stands with its identifier, or, deleted meanwhile, as it was when its row was made."""

    version_id: str
    content_hash: str


@dataclass(frozen=True, slots=True)
class Adopter:
    """Adopts births of a wave; to be used by who is alone. `legacy` is the account that has seen the line."""

    wave: SyncedWave
    client: MedplumClient
    legacy: sa.Engine

    def adopt(self, note: NotedBirth, line: BornLine) -> list[HeldBack]:
        """Bring the resource of a note and the row of its line together; what keeps them apart, else nothing.

        Raises SourceUnavailable, SourceError, MedplumUnavailable, Unauthorised, LeaseHeld: the note stays open.
        """
        environment, key = self.wave.environment, line.key
        with snapshot(self.legacy) as view:
            row = row_of_key(view, environment.migration.entities[note.entity], key)
        if row is None:
            return self._unless_gone(note, self.told(note, HeldReason.ROW_GONE, shown_key(note.entity, key)))
        made = Maker(environment, note.entity).of(row)
        if note.slot in made.slots and made.slots[note.slot].hash != line.made:
            made = Made({})  # somebody has changed the row since: that is a change, and no part of what both agree on
        if taken := self._taken(note, key):
            return self._unless_gone(note, taken)
        known = self._identified(note, key, made)
        if isinstance(known, HeldBack):
            return [known]
        self._record(note, line, row, made, known)
        return []

    def _unless_gone(self, note: NotedBirth, held: HeldBack) -> list[HeldBack]:
        """The note stays open: its row may come back, or lose the other resource. Unless its own is deleted."""
        gone: set[str] = set()
        self.client.read_each([note.place], gone)
        if note.medplum_id not in gone:
            return [held]
        with self.wave.environment.manifest.begin() as connection:
            close_birth(connection, self.wave.environment.migration.name, note.place)
        return []

    def _taken(self, note: NotedBirth, key: str) -> HeldBack | None:
        """Whether the row has become another resource, and both are there: its note was lost with a manifest, say."""
        migration = self.wave.environment.migration
        name = (migration.naming.system(note.entity, note.slot), key)
        with self.wave.environment.manifest.begin() as connection:
            known = find_targets(connection, migration.name, [name]).get(name)
        if known is None or known.medplum_id == note.medplum_id:
            return None
        other, gone = (known.resource_type, known.medplum_id), set[str]()
        self.client.read_each([other], gone)
        return None if gone else self.told(note, HeldReason.CONFLICT, "/".join(other))

    # -- the resource ------------------------------------------------------------------------------

    def _identified(self, note: NotedBirth, key: str, made: Made) -> _Known | HeldBack:
        """Put the row's identifier into the resource as it is now, with whatever else the mapping makes of the row."""
        name = (self.wave.environment.migration.naming.system(note.entity, note.slot), key)
        for _ in range(_TRIES):
            read = self.client.read_each([note.place], gone := set[str](), extended=True)
            if note.medplum_id in gone:
                return _Known(note.version_id, note.content_hash)
            if note.medplum_id not in read:
                return self.told(note, HeldReason.IN_DOUBT, "not found (404)")
            version, text = read[note.medplum_id]
            stored: Resource = json.loads(text)
            if not is_text(stored):
                return self.told(note, Inexpressible.READS_OTHERWISE, HALF)
            if name in names_of(stored):
                return _Known(version, stored_hash(text))
            former = self._former(note, version)
            if refused := self._put(note, version, stored, with_identifier(stored, name, made, note.slot, former)):
                return refused
        return self.told(note, HeldReason.IN_DOUBT)

    def _former(self, note: NotedBirth, version: str) -> Resource | None:
        """What the row was made of, where users have edited the resource since and Medplum has kept it."""
        place = f"{note.medplum_id}/_history/{note.version_id}"
        if note.version_id in ("", version):  # of a note that was lost it is not known
            return None
        read = self.client.read_each([(note.resource_type, place)])
        return orjson.loads(read[place][1]) if place in read else None

    def _put(self, note: NotedBirth, version: str, stored: Resource, wanted: Resource) -> HeldBack | None:
        body = canonical(wanted)
        target = ResolvedResource(("", ""), note.resource_type, body, hashlib.sha256(body).hexdigest())
        step = Step(target, Action.UPDATE, note.medplum_id, version, accounts_of(stored))
        [outcome] = self.client.batch([batch_entry(step, False)], points.WRITE, extended=bool(step.accounts))
        if outcome.status in (401, 403):
            raise Unauthorised(
                f"Medplum refuses to write {note.resource_type} (HTTP {outcome.status}).",
                "Check the client's access policy: the next cycle goes on.",
            )
        if outcome.done or outcome.status == 412:
            return None
        reason = HeldReason.REFUSED if outcome.status in (400, 422) else HeldReason.IN_DOUBT
        return self.told(note, reason, f"Medplum, HTTP {outcome.status}")

    def told(self, note: NotedBirth, reason: HeldReason | Inexpressible, detail: str = "") -> HeldBack:
        place = "/".join(note.place)
        return HeldBack(note.entity, place, note.unit, reason, note.slot, detail=detail, place=place)

    # -- the manifest ------------------------------------------------------------------------------

    def _record(self, note: NotedBirth, line: BornLine, row: Row, made: Made, known: _Known) -> None:
        """Record the base of both sides, and that the row is settled where it makes that one resource."""
        migration, run_id, key = self.wave.environment.migration, self.wave.new_run_id(), line.key
        unit = migration.entities[note.entity].unit_of(row)
        keys = {note.entity: {key: {unit}}}
        begin(self.wave.environment, run_id, self.wave.kind, scope_of_keys(migration, keys), OPTIONS,
              slices_of_keys(migration, keys, OPTIONS.slice_rows))  # fmt: skip
        base = self._base(note, line, known)
        with self.wave.environment.manifest.begin() as connection:
            [slice_] = runs.slices_of(connection, run_id)
            record_confirmed(connection, migration.name, run_id, slice_.id, [base])
            if made.slots.keys() == {note.slot}:
                record = SourceRecord(
                    note.entity, key, unit, slice_.id, Disposition.SUCCESSFUL, migration.specs[note.entity].version,
                    source_digest=row_digest(dump_row(row)), fingerprint=migration.fingerprint,
                )  # fmt: skip
                findings = [(note.entity, key, found.reason, found.field) for found in made.findings]
                write_records(connection, run_id, [record], findings)
            close_birth(connection, migration.name, note.place)
            forgotten = [(name, "/".join(note.place)) for name in migration.inverses]
            set_held_back(connection, migration.name, migration.fingerprint, forgotten, [])
            runs.set_stage(connection, run_id, slice_.id, SliceStage.LOADED)
            runs.finish_run(connection, run_id, RunStatus.APPLIED)
            leases.release(connection, run_id)

    def _base(self, note: NotedBirth, line: BornLine, known: _Known) -> ConfirmedWrite:
        migration = self.wave.environment.migration
        return ConfirmedWrite(
            migration.naming.system(note.entity, note.slot), line.key, note.entity, *note.place, known.version_id,
            known.content_hash, Effect.UPDATED, line.made if line.made != known.content_hash else None,
        )  # fmt: skip


def with_identifier(stored: Resource, name: Name, made: Made, slot: str, former: Resource | None = None) -> Resource:
    """What is to stand in place of a resource: all that users said, and what the mapping makes of the row besides.

    What they changed since `former`, of which the row was made, the row does not bring back. In the order in which the
    mapping makes it, so that it can be told later what was made. A row that makes nothing now gives its name alone.
    """
    theirs = split(stored)[0]
    if slot not in made.slots:
        return {**theirs, "identifier": [*theirs.get("identifier", []), {"system": name[0], "value": name[1]}]}
    ours: Resource = orjson.loads(made.slots[slot].body)
    rulings = Rulings(in_conflict=lambda _: Side.LEGACY)
    if former is not None:
        before = split(former)[0]
        ours = merge(before, theirs, ours, footprint_of(before) | footprint_of(theirs), rulings).resource
    return completed(theirs, ours)
