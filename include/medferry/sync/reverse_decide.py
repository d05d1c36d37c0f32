"""What is to be done about a record that was looked at: pure, so that all of it can be tried without a system."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from medferry.apply.targets import ResolvedResource
from medferry.fhir.canonical import Resource, content_hash
from medferry.fhir.footprint import footprint_of
from medferry.fhir.merge import merge
from medferry.fhir.merging import Conflict, element_of
from medferry.fhir.references import references
from medferry.manifest.held_back import HeldBack, HeldReason
from medferry.manifest.write_backs import NewBase
from medferry.mapping.apply_inverse import apply_inverse
from medferry.mapping.context import MappingSettings
from medferry.mapping.declare import MappingSpec, Row
from medferry.mapping.inverse import CannotExpress, Inexpressible, InverseSpec
from medferry.plan.model import DeletedPolicy
from medferry.sync.made import References
from medferry.sync.record_look import RecordLook, SlotLook
from medferry.sync.reverse_look import named

Made = Callable[[Row], Mapping[str, ResolvedResource]]
"""What a row becomes, by slot; nothing where it becomes nothing."""

HALF = "half a surrogate pair"
"""A program has cut a text within an emoji; Medplum keeps it."""

UNKNOWN = "Medplum has not the version that is known: it was restored from a backup, or lost its history"


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a record. Without `columns` nothing is written into its row."""

    look: RecordLook
    columns: Mapping[str, Any] = field(default_factory=dict, repr=False)
    bases: tuple[NewBase, ...] = ()
    in_step: bool = False
    """Row and resources say the same then, as far as the row can: the way forth has nothing to do."""
    forth: bool = False
    """Only the way forth can settle it: the row has changed, and nothing of Medplum's is to be written; or both have,
    and it is to be recorded as a conflict."""
    removal: DeletedPolicy | None = None
    """How its row goes, since its resources are gone."""
    held: tuple[HeldBack, ...] = ()


@dataclass(frozen=True, slots=True)
class Decider:
    """Decides about records of one entity."""

    spec: MappingSpec
    inverse: InverseSpec
    settings: MappingSettings
    made: Made
    deleted: DeletedPolicy
    may_write: Callable[[str, str], bool]
    """Whether Medplum's users may write the resources of a type in a business unit."""

    def decide(self, look: RecordLook, names: References) -> Decision:
        """A fault of the inverse is told as what it holds back, and raises nothing."""
        changed = {slot: one for slot, one in look.slots.items() if one.changed_in_medplum}
        if not changed:
            return Decision(look)
        if look.in_doubt:
            return _held(look, HeldReason.IN_DOUBT)
        if look.row is not None and any(one.unknown for one in changed.values()):
            forth = any(one.stored and one.mapped and one.changed_in_legacy for one in changed.values())
            return replace(_held(look, HeldReason.NO_BASE, UNKNOWN), forth=forth)
        if any(one.stored is None for one in changed.values()):
            return self._deleted(look)
        if look.row is None:
            return _held(look, HeldReason.ROW_GONE)
        if look.refused:
            return _held(look, Inexpressible.NO_ROW, look.refused)
        if not all(one.is_text for one in changed.values()):
            return _held(look, Inexpressible.READS_OTHERWISE, HALF)
        if any(one.base is None for one in changed.values()):
            return replace(_held(look, HeldReason.NO_BASE), forth=True)
        if conflicts := [held for slot, one in changed.items() for held in _conflicts(look, slot, one)]:
            return Decision(look, forth=True, held=tuple(conflicts))
        return self._expressed(look, look.row, changed, names)

    def _deleted(self, look: RecordLook) -> Decision:
        """Of a record whose row is gone, too, or makes nothing on purpose, both sides say the same.

        A row goes only where Medplum calls all of its resources deleted, and has no other one of their names.
        """
        if look.row is None or look.is_skipped:
            return Decision(look)
        twins = ", ".join(sorted(one.twin for one in look.slots.values() if one.twin))
        if twins or self.deleted is DeletedPolicy.REPORT or any(one.stored for one in look.slots.values()):
            return _held(look, HeldReason.DELETED, twins)
        if not all(one.deleted for one in look.slots.values()):
            return _held(look, HeldReason.DELETED, "not found (404)")
        if any(one.changed_in_legacy for one in look.slots.values()):
            return _held(look, HeldReason.CONFLICT)
        if not all(self._may_write(look, one) for one in look.slots.values()):
            return _held(look, HeldReason.AGAINST)
        return Decision(look, removal=self.deleted)

    def _may_write(self, look: RecordLook, one: SlotLook) -> bool:
        return self.may_write(look.unit, one.known.resource_type)

    def _expressed(self, look: RecordLook, row: Row, changed: Mapping[str, SlotLook], names: References) -> Decision:
        edited = {slot: named(one.stored.content, names) for slot, one in changed.items() if one.stored}
        base = {slot: named(one.base, names) for slot, one in changed.items() if one.base}
        told = apply_inverse(self.spec, self.inverse, row, look.key, edited, self.settings, base)
        held = tuple(_not_expressed(look, one) for one in told.cannot_express)
        columns = {name: value for name, value in told.columns.items() if row[name] != value}
        due = any(one.changed_in_legacy or one.lost_its_name for one in look.slots.values())
        due = due or look.makes != look.slots.keys()
        if not columns:
            return Decision(look, forth=due, held=held)
        if not all(self._may_write(look, one) for one in changed.values()):
            against = _held(look, HeldReason.AGAINST, ", ".join(sorted(columns))).held
            return Decision(look, held=(*against, *held))
        made = self.made({**row, **columns})
        if strange := _of_another(look, changed, made, ", ".join(sorted(columns))):
            return Decision(look, forth=due, held=(*strange, *held))
        makes = {slot: one.hash for slot, one in made.items()}
        bases = {slot: _new_base(one, made[slot]) for slot, one in changed.items() if slot in made}
        bases |= {slot: _same_base(one) for slot, one in look.slots.items() if slot not in bases}
        found_again = not any(one.lost_its_name for one in look.slots.values())
        in_step = found_again and makes == {slot: base.wanted_hash or base.content_hash for slot, base in bases.items()}
        return Decision(look, columns, tuple(bases.values()), in_step, held=held)


def _of_another(
    look: RecordLook, changed: Mapping[str, SlotLook], made: Mapping[str, ResolvedResource], columns: str
) -> list[HeldBack]:
    """The places where a resource names another patient now and the row that is to be written does not.

    What else was edited there is about that other one: none of it belongs into this one's row.
    """
    found = []
    for slot, one in changed.items():
        stored, base = _patients(one.stored.content if one.stored else None), _patients(one.base)
        comes = _patients(orjson.loads(made[slot].body)) if slot in made else {}
        found += [
            HeldBack(look.entity, look.key, look.unit, HeldReason.OF_ANOTHER, slot, path, columns, _place(one))
            for path in sorted(base)
            if stored.get(path) != base[path] and stored.get(path) != comes.get(path)
        ]
    return found


def _patients(resource: Resource | None) -> dict[str, set[str]]:
    """Element → the patients that it refers to, of those that refer to any. What Medplum notes in `meta` follows."""
    found = {
        name: {one["reference"] for one in references(value) if one["reference"].startswith("Patient/")}
        for name, value in (resource or {}).items()
        if name != "meta"
    }
    return {name: patients for name, patients in found.items() if patients}


def _conflicts(look: RecordLook, slot: str, one: SlotLook) -> list[HeldBack]:
    """The places of a resource that both sides changed, each otherwise."""
    if not one.changed_in_legacy:
        return []
    found = sorted({element_of(conflict.path) for conflict in _merged_conflicts(one)})
    return [
        HeldBack(look.entity, look.key, look.unit, HeldReason.CONFLICT, slot, path, "", _place(one)) for path in found
    ]


def _merged_conflicts(one: SlotLook) -> tuple[Conflict, ...]:
    assert one.mapped is not None and one.base is not None and one.stored is not None
    ours: Resource = orjson.loads(one.mapped.body)
    return merge(one.base, ours, one.stored.content, footprint_of(one.base) | footprint_of(ours)).conflicts


def _new_base(one: SlotLook, made: ResolvedResource) -> NewBase:
    """What both sides agree on once the row is written.

    What the row's former content became is changed as writing changes it; where the row was as it was, that is what
    the written row becomes.
    """
    assert one.stored is not None and one.base is not None
    wanted = made.hash
    if one.changed_in_legacy:
        assert one.mapped is not None
        before, after = orjson.loads(one.mapped.body), orjson.loads(made.body)
        agreed = merge(before, after, one.base, footprint_of(before) | footprint_of(after)).resource
        wanted = content_hash(agreed)
    stored, known = one.stored, one.known
    place = (known.resource_type, known.medplum_id, known.version_id, stored.version_id)
    return NewBase(*one.name, *place, stored.hash, wanted if wanted != stored.hash else None)


def _same_base(one: SlotLook) -> NewBase:
    """What nobody changed in Medplum stays as it is known."""
    known = one.known
    place = (known.resource_type, known.medplum_id, known.version_id, known.version_id)
    return NewBase(*one.name, *place, known.content_hash, known.wanted_hash)


def _held(look: RecordLook, reason: HeldReason | Inexpressible, detail: str = "") -> Decision:
    place = next((_place(one) for one in look.slots.values() if one.changed_in_medplum), "")
    return Decision(look, held=(HeldBack(look.entity, look.key, look.unit, reason, detail=detail, place=place),))


def set_aside(look: RecordLook, problem: str) -> Decision:
    """A record of an entity whose rows cannot be read or written at present."""
    return _held(look, HeldReason.SET_ASIDE, problem)


def held_instead(decision: Decision, reason: HeldReason, detail: str = "") -> HeldBack:
    """What is told of a record whose row was to be written and was not."""
    return _held(decision.look, reason, detail).held[0]


def _not_expressed(look: RecordLook, told: CannotExpress) -> HeldBack:
    place = _place(look.slots[told.slot]) if told.slot in look.slots else ""
    return HeldBack(look.entity, look.key, look.unit, told.reason, told.slot, told.path, told.detail, place)


def _place(one: SlotLook) -> str:
    return f"{one.known.resource_type}/{one.known.medplum_id}"
