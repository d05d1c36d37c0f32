"""Give what users created in Medplum its row, and then the row's identifier: each once, whatever dies in between.

In this order: a note in the manifest; the row and its line in `medferry_born`, in one transaction of the legacy
database; the identifier, put into the resource as it is then (`If-Match`); the crosswalk, in the transaction that
closes the note. What a killed cycle has done of it is told by the line, and the rest is done by the next one, of either
way, before anything else. Until then the way forth leaves the row alone (`stages.born`): it would find no identifier.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
from more_itertools import partition

from medferry.errors import LeaseHeld, SourceError
from medferry.fhir.additions import split
from medferry.fhir.canonical import Resource, is_text, stored_hash
from medferry.fhir.references import literal_references
from medferry.fhir.sides import Side
from medferry.governance.authority import authority
from medferry.manifest.births import NotedBirth, close_birth, note_birth
from medferry.manifest.held_back import HeldBack, HeldReason, hold_back_new, set_held_back
from medferry.mapping.apply_birth import BirthMapping, RowBirth
from medferry.mapping.inverse import CannotExpress, Inexpressible
from medferry.mapping.raised import is_fault, place_of
from medferry.medplum.client import MedplumClient
from medferry.source.births import BornLine
from medferry.source.insert import insert_row
from medferry.source.write_faults import RowConflict, WriterBlocked, WriteRefused
from medferry.source.writeback import Row
from medferry.sync.adopt import Adopter
from medferry.sync.made import Maker
from medferry.sync.reverse import Found
from medferry.sync.reverse_births import Birth, Births
from medferry.sync.reverse_decide import HALF
from medferry.sync.reverse_look import named, names_of_ids
from medferry.sync.wave import SyncedWave

log = logging.getLogger(__name__)


class _NoRow(Exception):
    """What a row would say is not what the resource says: nothing of it is inserted."""

    def __init__(self, why: tuple[CannotExpress, ...]) -> None:
        super().__init__("held back")
        self.why = why


@dataclass(frozen=True, slots=True)
class Delivery:
    """Makes rows of births. `blocked` are entities that cannot be written; those found on the way are added.

    So is what is held back, to `held`, and the resource types of what has got its row, to `born`.
    """

    wave: SyncedWave
    client: MedplumClient
    blocked: set[str]
    held: list[HeldBack]
    born: Counter[str]

    @property
    def births(self) -> Births:
        return Births(self.wave, self.client)

    def first(self, found: Iterable[Found]) -> None:
        """Those among some changes. Raises as `deliver`."""
        own, passed = self._parted(self.births.among(found))
        migration = self.wave.environment.migration
        if passed:  # an overlap shows them again and again, and what their own wave has told stays
            with self.wave.environment.manifest.begin() as connection:
                hold_back_new(connection, migration.name, migration.fingerprint, passed)
        self._deliver_all(own)

    def again(self, told: Collection[HeldBack]) -> None:
        """Those that were told before. Raises as `deliver`."""
        own, passed = self._parted(self.births.again(told))
        self._tell({one.place for one in told} - {"/".join(one.place) for one in own}, passed)
        self._deliver_all(own)

    def _parted(self, births: Sequence[Birth]) -> tuple[list[Birth], list[HeldBack]]:
        """Those of the wave, and what is told of the others."""
        others, own = partition(self.births.is_own, births)
        return list(own), [self.births.passed(one) for one in others]

    def _deliver_all(self, births: Sequence[Birth]) -> None:
        """They are told before it is tried: a kill leaves them told, or noted, so the feed need not name them again."""
        self._tell(["/".join(one.place) for one in births], [self.births.told(one) for one in births])
        rest = list(births)
        while rest:
            ready = [one for one in rest if not one.new] or rest  # who waits for what gets no row is told so
            rest = [one for one in rest if one.new and one not in ready]
            done = [self._done(one) for one in ready]
            if any(done):
                rest = self.births.as_of_now(rest)

    def _done(self, birth: Birth) -> bool:
        """Whether a birth has got its row now."""
        held = self.deliver(birth)
        self._tell(["/".join(birth.place)], held)
        self.held.extend(held)
        self.born.update([] if held else [birth.place[0]])
        return not held

    def _tell(self, looked: Collection[str], held: Sequence[HeldBack]) -> None:
        """What is held back of some resources without a row is `held` from now on, and nothing else."""
        migration = self.wave.environment.migration
        keys = [(entity, place) for place in looked for entity in migration.inverses]
        if keys:
            with self.wave.environment.manifest.begin() as connection:
                set_held_back(connection, migration.name, migration.fingerprint, keys, held)

    def deliver(self, birth: Birth) -> list[HeldBack]:
        """Insert the row of a birth and adopt the resource; why not, where there is no row.

        Raises SourceUnavailable, MedplumUnavailable, Unauthorised: the next cycle goes on.
        """
        begun = self._begun(birth)
        if isinstance(begun, list):
            return begun
        note, mapping, resource, first = begun
        self._noted(note)
        try:
            line = self._inserted(note, mapping, resource, first)
        except _NoRow as refused:
            return self._ended(note, self._held(birth, note, refused.why))
        except RowConflict:  # it may be the commit of a killed process that is in the way: the note stays
            return [self.births.told(birth, HeldReason.ROW_CHANGED)]
        except (WriterBlocked, SourceError) as error:  # nor does this tell whether there is a row
            log.warning("%s is set aside: %s", note.entity, error)
            self.blocked.add(note.entity)
            return [self.births.told(birth, HeldReason.SET_ASIDE, error.problem)]
        except WriteRefused as error:
            log.warning("A birth of %s is held back: %s", note.entity, error)
            return self._ended(note, [self.births.told(birth, HeldReason.REFUSED, error.problem)])
        try:
            return Adopter(self.wave, self.client, self.wave.environment.legacy_writer).adopt(note, line)
        except LeaseHeld as error:
            log.info("A birth of %s is adopted later: %s", note.entity, error.problem)
            return [self.births.told(birth, HeldReason.IN_DOUBT)]
        except SourceError as error:  # its row is there, and the note: it is adopted when it can be read
            return [self.births.told(birth, HeldReason.SET_ASIDE, error.problem)]

    def foretold(self, birth: Birth) -> tuple[str, list[str]] | list[HeldBack]:
        """The entity and the columns of the row that a birth would be inserted with, or why there would be none.

        What only the row itself tells (a code, a time in its clinic's zone) is judged when it is there.
        """
        begun = self._begun(birth) if self.births.is_own(birth) else [self.births.passed(birth)]
        return begun if isinstance(begun, list) else (begun[0].entity, sorted(begun[3].columns))

    # -- whether, and as what ----------------------------------------------------------------------

    def _begun(self, birth: Birth) -> tuple[NotedBirth, BirthMapping, Resource, RowBirth] | list[HeldBack]:
        """What a row is made of, or why there is none; nothing is written."""
        target = self._target(birth)
        if isinstance(target, HeldBack):
            return [target]
        note = self._note(birth, *target)
        mapping, resource = self._mapping(note), self._named(note, birth)
        first = mapping.first(resource)
        return self._held(birth, note, first.refused) if first.refused else (note, mapping, resource, first)

    def _target(self, birth: Birth) -> tuple[str, str, str] | HeldBack:
        """(entity, slot, unit) of the row that it gets, or why it gets none."""
        migration, told = self.wave.environment.migration, partial(self.births.told, birth)
        taking = [
            (name, slot, inverse.births)
            for name, inverse in sorted(migration.inverses.items())
            for slot, kind in migration.specs[name].produces.items()
            if inverse.births and kind == birth.place[0]
        ]
        if not taking:
            return told()
        if not is_text(birth.resource):
            return told(Inexpressible.READS_OTHERWISE, HALF)
        try:
            fits = [(name, slot, new) for name, slot, new in taking if new.fits(birth.resource, slot)]
        except BaseException as error:
            if not is_fault(error):
                raise
            return told(Inexpressible.INVERSE_ERROR, place_of(error))
        if len(fits) != 1:
            return told(HeldReason.NO_ENTITY, ", ".join(f"{name} {slot}" for name, slot, _ in fits))
        [(entity, slot, new)] = fits
        unit = self.births.own_unit(birth, new.unit_by)
        if unit is None:
            return told(HeldReason.NO_UNIT, entity)
        if authority(migration.plan, unit, entity, resource_type=birth.place[0]) is Side.LEGACY:
            return told(HeldReason.AGAINST)
        if birth.new:
            return told(HeldReason.WAITS, "/".join(birth.new[0]))
        if entity in self.blocked:
            return told(HeldReason.SET_ASIDE)
        return entity, slot, unit

    def _note(self, birth: Birth, entity: str, slot: str, unit: str) -> NotedBirth:
        text = orjson.dumps(birth.resource)
        return NotedBirth(
            *birth.place, entity, slot, self.wave.id, unit, birth.resource["meta"]["versionId"], stored_hash(text)
        )

    def _mapping(self, note: NotedBirth) -> BirthMapping:
        migration = self.wave.environment.migration
        spec, inverse = migration.specs[note.entity], migration.inverses[note.entity]
        return BirthMapping(spec, inverse, note.slot, migration.settings)

    def _named(self, note: NotedBirth, birth: Birth) -> Resource:
        names = names_of_ids(self.wave.environment, note.entity, literal_references(birth.resource))
        return named(split(birth.resource)[0], names)

    # -- the row -----------------------------------------------------------------------------------

    def _inserted(self, note: NotedBirth, mapping: BirthMapping, resource: Resource, first: RowBirth) -> BornLine:
        """The line of the row that stands for the resource from now on, or did before."""
        environment = self.wave.environment
        entity = environment.migration.entities[note.entity]
        new = mapping.inverse.births
        assert new is not None

        def judged(row: Row) -> Row:
            of_row = mapping.of_row(resource, row, entity.ledger_key_of(row))
            if of_row.refused:
                raise _NoRow(of_row.refused)
            if entity.unit_of(row) != note.unit:
                problem = f"{note.entity}: a new row would not be in the unit of what it refers to."
                raise WriteRefused(problem, "Correct new_rows(unit=, unit_by=, unit_of=).")
            return of_row.columns

        def made(row: Row) -> str:
            found = Maker(environment, note.entity).of(row).slots.get(note.slot)
            if found is None:
                raise WriteRefused(f"{note.entity}: a new row refers to what is not in Medplum.", "Load that first.")
            return found.hash

        line = BornLine(*note.place, note.entity, note.slot, "", "")
        values: Mapping[str, Any] = {**first.columns, entity.unit: note.unit}
        writer, tables, through = environment.legacy_writer, mapping.inverse.tables, self.wave.through
        return insert_row(writer, entity, tables, new, line, values, judged, made, through)

    # -- what is told ------------------------------------------------------------------------------

    def _held(self, birth: Birth, note: NotedBirth, why: tuple[CannotExpress, ...]) -> list[HeldBack]:
        place = "/".join(birth.place)
        return [
            HeldBack(note.entity, place, note.unit, one.reason, one.slot, one.path, one.detail, place) for one in why
        ]

    def _noted(self, note: NotedBirth) -> None:
        with self.wave.environment.manifest.begin() as connection:
            note_birth(connection, self.wave.environment.migration.name, note)

    def _ended(self, note: NotedBirth, held: list[HeldBack]) -> list[HeldBack]:
        with self.wave.environment.manifest.begin() as connection:
            close_birth(connection, self.wave.environment.migration.name, note.place)
        return held
