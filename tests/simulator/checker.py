"""What must be true when all is quiet, by what the users did and what both sides hold; it knows nothing of the program.

By the histories: the program never wrote over what a user wrote and the other side had not, never wrote an older value
after a newer one, never touched what is not mapped, and made one resource of each row. At the end both sides are equal
where only one of them was changed since; where both were, and otherwise, that is told, and only there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.simulator.medplum import Medplum, Resource, Version
from tests.simulator.users import ELEMENTS, TOLD_TWICE, Element, Facts, Place, is_ours, phone, resources

CHANGED, DELETED = "target-changed", "target-deleted"
AMBIGUOUS, UNRESOLVED = "ambiguous-local-time", "unresolved-reference"


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the program tells: place → reason ("" for none), and place → Medplum id that it knows."""

    reasons: Mapping[Place, str]
    ids: Mapping[Place, str]


def problems(legacy: sqlite3.Connection, medplum: Medplum, facts: Facts, ledger: Ledger) -> list[str]:
    """Everything that is not as it must be."""
    rows = {(entity, row["id"]): row for entity in ELEMENTS for row in _rows(legacy, entity)}
    found: list[str] = []
    for place in {*rows, *facts.edited_at}:
        of_place = resources(medplum, place)
        found += [f"{place}: {len(of_place)} resources"] if len(of_place) > 1 else []
        for _, id_, versions in of_place:
            found += [f"{place}: {problem}" for problem in _history(facts, place, versions)]
            if ledger.ids.get(place, id_) != id_:
                found.append(f"{place}: the crosswalk has another resource")
        if place in rows and _is_active(rows[place]) and len(of_place) <= 1:
            versions = of_place[0][2] if of_place else []
            if ledger.reasons.get(place) == UNRESOLVED and not _is_there(
                medplum, ("patient", rows[place]["patient_id"])
            ):
                continue
            found += [f"{place}: {problem}" for problem in _end(facts, place, rows[place], versions, ledger)]
    return found


def _rows(legacy: sqlite3.Connection, entity: str) -> Iterator[dict[str, Any]]:
    cursor = legacy.execute(f"SELECT * FROM {entity}")
    names = [column[0] for column in cursor.description]
    return (dict(zip(names, row, strict=True)) for row in cursor)


def _is_active(row: Mapping[str, Any]) -> bool:
    return row["unit"] == "north" and row.get("deleted_at") is None


def _is_there(medplum: Medplum, place: Place) -> bool:
    return any(versions[-1].body is not None for _, _, versions in resources(medplum, place))


# -- what was written ------------------------------------------------------------------------------


def _history(facts: Facts, place: Place, versions: list[Version]) -> Iterator[str]:
    reached: dict[str, int] = {}
    before: Resource | None = None
    for version in versions:
        body = version.body
        if body is not None and is_ours(version):
            for element in ELEMENTS[place[0]]:
                yield from _own_write(facts, place, element, before, body, reached)
            if before is not None and (phone(before), before.get("note")) != (phone(body), body.get("note")):
                yield "what is not mapped was changed"
        before = body if body is not None else before


def _own_write(
    facts: Facts, place: Place, element: Element, before: Resource | None, body: Resource, reached: dict[str, int]
) -> Iterator[str]:
    """One element of a version of ours; `reached`: how far in the row's values it has come."""
    values, value = facts.rows[place, element.column], element.get(body)
    old = element.get(before) if before is not None else None
    if before is not None and old == value:
        return
    if value not in values:
        yield f"{element.column} was written, which the row never had"
        return
    if before is not None and old not in values:
        yield f"{element.column}: a user's edit was written over"
    later = [number for number, one in enumerate(values) if one == value and number >= reached.get(element.column, 0)]
    if not later:
        yield f"{element.column}: an older value was written over a newer one"
    reached[element.column] = max(later, default=reached.get(element.column, 0))


# -- what is there ---------------------------------------------------------------------------------


def _end(facts: Facts, place: Place, row: Mapping[str, Any], versions: list[Version], ledger: Ledger) -> Iterator[str]:
    reason = ledger.reasons.get(place, "")
    if row.get("taken_at") == TOLD_TWICE and reason == AMBIGUOUS:
        return
    if not versions:
        yield f"a row without a resource ({reason or 'nothing told'})"
        return
    body = versions[-1].body
    if body is None:
        if facts.edited_at[place] > facts.deleted_at.get(place, 0) and reason != DELETED:
            yield f"deleted there and edited here, and not told ({reason or 'nothing told'})"
        return
    different = [one for one in ELEMENTS[place[0]] if one.get(body) != row[one.column]]
    open_ = [one for one in different if not _was_there(one, versions, row[one.column])]
    if open_ and reason != CHANGED:
        yield f"{', '.join(one.column for one in open_)}: not equal, and not told ({reason or 'nothing told'})"
    both = [
        one
        for one in different
        if (value := one.get(body)) not in facts.rows[place, one.column] or value in facts.alike
    ]
    if reason == CHANGED and not both:
        yield "told as changed on both sides, and it was not"
    if reason == DELETED:
        yield "told as deleted, and it is there"


def _was_there(element: Element, versions: list[Version], value: Any) -> bool:
    """Whether the resource has had a value before a user replaced it."""
    return any(one.body is not None and element.get(one.body) == value for one in versions[:-1])
