"""What must be true when all is quiet, by what the users did and what both sides hold; it knows nothing of the program.

By the histories: the program never wrote over what a user wrote and the other side had not, never wrote an older value
after a newer one, never touched what is not mapped, and made one resource of each row. At the end both sides are equal
where only one of them was changed since; where both were, and otherwise, that is told, and only there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from tests.simulator.legacy import PERSON, PROGRAM, Written, all_written
from tests.simulator.medplum import Medplum, Resource, Version
from tests.simulator.users import ELEMENTS, TOLD_TWICE, Element, Facts, Named, Place, is_ours, phone, resources

CHANGED, DELETED = "target-changed", "target-deleted"
AMBIGUOUS, UNRESOLVED = "ambiguous-local-time", "unresolved-reference"
HELD_CONFLICT, HELD_DELETED = "conflict", "deleted-in-medplum"


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the program tells: place → reason ("" for none), place → Medplum id that it knows, and what is held back.

    `held` are (entity, key, reason).
    """

    reasons: Mapping[Place, str]
    ids: Mapping[Place, str]
    held: set[tuple[str, int, str]] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Record:
    """All that is known of one record. `rows`: column → every value that the row had, the oldest first."""

    place: Place
    facts: Facts
    both: bool
    """Whether what is changed in Medplum is written back, too."""
    row: Mapping[str, Any] | None
    rows: Mapping[str, list[Any]]
    written: list[Written]
    versions: list[Version]
    reason: str
    held: set[str]

    @property
    def elements(self) -> tuple[Element, ...]:
        return ELEMENTS[self.place[0]]


def problems(
    legacy: Any,
    medplum: Medplum,
    places: Iterable[Place],
    facts: Facts,
    ledger: Ledger,
    both: bool = False,
    created: Mapping[Place, Named] = MappingProxyType({}),
) -> list[str]:
    """Everything that is not as it must be. `created`: the resource for which a row was inserted, named so or not."""
    rows = {(entity, row["id"]): row for entity in ELEMENTS for row in _rows(legacy, entity)}
    written = all_written(legacy)
    found: list[str] = []
    for place in places:
        of_place = resources(medplum, place) or ([created[place]] if place in created else [])
        found += [f"{place}: {len(of_place)} resources"] if len(of_place) > 1 else []
        found += [
            f"{place}: the crosswalk has another resource"
            for _, id_, _ in of_place
            if ledger.ids.get(place, id_) != id_
        ]
        for versions in [versions for _, _, versions in of_place] or [[]]:
            one = _record(place, facts, both, rows.get(place), written, versions, ledger)
            found += [f"{place}: {problem}" for problem in (*_resource(one), *_row(one))]
            if one.row and _is_active(one.row) and not _waits(one, medplum):
                found += [f"{place}: {problem}" for problem in _end(one)]
    return found


def _record(
    place: Place,
    facts: Facts,
    both: bool,
    row: Mapping[str, Any] | None,
    written: list[Written],
    versions: list[Version],
    ledger: Ledger,
) -> _Record:
    own = [one for one in written if (one.entity, one.key) == place]
    values = {one.column: [each.value for each in own if each.column == one.column] for one in own}
    held = {reason for *of, reason in ledger.held if tuple(of) == place}
    returns = both and place[0] == "patient"
    return _Record(place, facts, returns, row, values, own, versions, ledger.reasons.get(place, ""), held)


def _rows(legacy: Any, entity: str) -> Iterator[dict[str, Any]]:
    cursor = legacy.execute(f"SELECT * FROM {entity}")
    names = [column[0] for column in cursor.description]
    return (dict(zip(names, row, strict=True)) for row in cursor)


def _is_active(row: Mapping[str, Any]) -> bool:
    return row["unit"] == "north" and row.get("deleted_at") is None


def _waits(one: _Record, medplum: Medplum) -> bool:
    """Whether what is told of a row is a reason of its own, and a true one."""
    assert one.row is not None
    if one.reason == AMBIGUOUS:
        return str(one.row.get("taken_at")) == TOLD_TWICE
    if one.reason == UNRESOLVED:
        patient = resources(medplum, ("patient", one.row["patient_id"]))
        return not any(versions[-1].body is not None for _, _, versions in patient)
    return False


# -- what was written ------------------------------------------------------------------------------


def _resource(one: _Record) -> Iterator[str]:
    """What the program wrote in Medplum."""
    reached: dict[str, int] = {}
    before: Resource | None = None
    for version in one.versions:
        body = version.body
        if body is not None and is_ours(version):
            for element in one.elements:
                yield from _element(one, element, before, body, reached)
            if before is not None and (phone(before), before.get("note")) != (phone(body), body.get("note")):
                yield "what is not mapped was changed"
        before = body if body is not None else before


def _element(
    one: _Record, element: Element, before: Resource | None, body: Resource, reached: dict[str, int]
) -> Iterator[str]:
    """One element of a version of ours; `reached`: how far in the row's values it has come."""
    values, value = one.rows.get(element.column, []), element.get(body)
    old = element.get(before) if before is not None else None
    if before is not None and old == value:
        return
    if value not in values:
        yield f"{element.column} was written, which the row never had"
        return
    if before is not None and old not in values:
        yield f"{element.column}: a user's edit was written over"
    later = [number for number, each in enumerate(values) if each == value and number >= reached.get(element.column, 0)]
    if not later:
        yield f"{element.column}: an older value was written over a newer one"
    reached[element.column] = max(later, default=reached.get(element.column, 0))


def _row(one: _Record) -> Iterator[str]:
    """What the program wrote into the row."""
    reached: dict[str, int] = {}
    known = {element.column: element for element in one.elements}
    inserted = {each.column: each for each in reversed(one.written)}
    for each in one.written:
        if each.who != PROGRAM or (each is inserted[each.column] and each.column not in known):
            continue
        if each.column not in known or not one.both:
            yield f"{each.column} was written into the row"
            continue
        values = [known[each.column].get(version.body) for version in one.versions if version.body is not None]
        if each.value not in values:
            yield f"{each.column} was written into the row, which Medplum never had"
            continue
        if each.old not in values and each is not inserted[each.column]:
            yield f"{each.column}: a legacy user's edit was written over"
        at = max(number for number, value in enumerate(values) if value == each.value)
        if at < reached.get(each.column, 0):
            yield f"{each.column}: an older value was written over a newer one of the row"
        reached[each.column] = at


# -- what is there ---------------------------------------------------------------------------------


def _end(one: _Record) -> Iterator[str]:
    if not one.versions:
        yield f"a row without a resource ({_told(one)})"
        return
    body = one.versions[-1].body
    if body is None:
        yield from _end_of_deleted(one)
        return
    assert one.row is not None
    different = [element for element in one.elements if element.get(body) != one.row[element.column]]
    open_ = [element for element in different if one.both or not _was_there(element, one)]
    told = one.reason == CHANGED or HELD_CONFLICT in one.held
    if open_ and not told:
        yield f"{', '.join(element.column for element in open_)}: not equal, and not told ({_told(one)})"
    if told and not any(_changed_on_both(element, one, element.get(body)) for element in different):
        yield f"told as changed on both sides, and it was not ({_told(one)})"
    if one.reason == DELETED or HELD_DELETED in one.held:
        yield f"told as deleted, and it is there ({_told(one)})"


def _end_of_deleted(one: _Record) -> Iterator[str]:
    edited = one.facts.edited_at[one.place] > one.facts.deleted_at.get(one.place, 0)
    if (edited or one.both) and one.reason != DELETED and HELD_DELETED not in one.held:
        yield f"deleted in Medplum, and not told ({_told(one)})"


def _changed_on_both(element: Element, one: _Record, value: Any) -> bool:
    """Whether Medplum's value is a user's that the row never had, and the row's a person's that Medplum never had."""
    assert one.row is not None
    if not one.facts.alike.isdisjoint((value, one.row[element.column])):
        return True
    last = [each.who for each in one.written if each.column == element.column][-1]
    unknown = value not in one.rows[element.column] or value in one.facts.unrecorded
    return unknown and last == PERSON and not _was_there(element, one)


def _told(one: _Record) -> str:
    return ", ".join(filter(None, (one.reason, *sorted(one.held)))) or "nothing told"


def _was_there(element: Element, one: _Record) -> bool:
    """Whether the resource has had the row's value before a user replaced it."""
    assert one.row is not None
    value = one.row[element.column]
    return any(version.body is not None and element.get(version.body) == value for version in one.versions[:-1])
