"""Those who work on both sides, one small act at a time. What they write is unlike all that was written before.

So it can be told later who wrote a value, and whether somebody has lost one. `facts` are what the checker goes by.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from typing import Any

from tests.simulator.medplum import CLIENT, USER, Medplum, Resource, Version

BASE = "https://tiny.example/legacy"
TOLD_TWICE = "2026-11-01 01:30:00"
"""An hour that New York's clocks show twice."""
TYPES = {"patient": "Patient", "weight": "Observation"}


@dataclass(frozen=True, slots=True)
class Element:
    """A column of the legacy side and its place in the resource. `fresh`: a value of that number."""

    entity: str
    column: str
    get: Callable[[Resource], Any]
    put: Callable[[Resource, Any], None]
    fresh: Callable[[int], Any]


def _put_family(resource: Resource, value: Any) -> None:
    resource["name"] = [{"family": value}]


def _put_born(resource: Resource, value: Any) -> None:
    resource["birthDate"] = value


def _put_kg(resource: Resource, value: Any) -> None:
    resource["valueQuantity"] = {**resource["valueQuantity"], "value": value}


def phone(resource: Resource) -> Any:
    """What the mapping does not own."""
    return [one["value"] for one in resource.get("telecom", [])]


FAMILY = Element("patient", "family", lambda r: r["name"][0]["family"], _put_family, lambda n: f"F{n}")
BORN = Element(
    "patient", "born", lambda r: r.get("birthDate"), _put_born, lambda n: str(date(1930, 1, 1) + timedelta(days=n))
)
KG = Element("weight", "kg", lambda r: float(r["valueQuantity"]["value"]), _put_kg, lambda n: 100.25 + n)
ELEMENTS = {"patient": (FAMILY, BORN), "weight": (KG,)}

Place = tuple[str, int]
"""(entity, source key)."""
Named = tuple[str, str, list[Version]]
"""(type, id, versions) of a resource."""


@dataclass(frozen=True, slots=True)
class Cast:
    """The source keys that a simulation is about; the weights are of the patients, in turn."""

    patients: tuple[int, ...] = (1, 2)
    born_later: tuple[int, ...] = (101, 102)
    weights: tuple[int, ...] = (0, 1)

    @property
    def places(self) -> list[Place]:
        patients: list[Place] = [("patient", key) for key in (*self.patients, *self.born_later)]
        return patients + [("weight", key) for key in self.weights]


@dataclass
class Facts:
    """What both sides did, beside what they remember by themselves."""

    edited_at: dict[Place, int] = field(default_factory=dict)
    """Place → number of the last act on the row."""
    deleted_at: dict[Place, int] = field(default_factory=dict)
    """Place → number of the last deletion of its resource."""
    alike: set[Any] = field(default_factory=set)
    """Values that were given on both sides at once: until a cycle has seen it, a later change of one is of both."""
    created: list[str] = field(default_factory=list)
    """Medplum ids of what users created there."""
    unrecorded: set[Any] = field(default_factory=set)
    """Values that a process wrote back before it was killed."""
    told: list[str] = field(default_factory=list)
    """For people."""


class Act(StrEnum):
    """What a user may do. Those of the legacy system come first."""

    EDIT_ROW = "edit row"
    EDIT_ROW_TWICE = "edit row twice"
    TOUCH_ROW = "touch row"
    UNDO_ROW = "edit row, then roll back"
    DELETE_ROW = "delete row"
    HIDE_ROW = "mark row as deleted"
    RESTORE_ROW = "restore row"
    LEAVE = "move row out of the wave"
    BIRTH = "insert row"
    EDIT_BOTH_ALIKE = "edit both alike"
    EDIT_BOTH = "edit both"
    EDIT = "edit resource"
    EDIT_SLOWLY = "edit resource in a long transaction"
    ADD = "add what is not mapped"
    DELETE = "delete resource"
    RESTORE = "restore resource"


LEGACY = (Act.EDIT_ROW, Act.TOUCH_ROW, Act.UNDO_ROW, Act.DELETE_ROW, Act.HIDE_ROW, Act.RESTORE_ROW, Act.BIRTH)
MEDPLUM = (Act.EDIT, Act.ADD, Act.DELETE, Act.RESTORE)


@dataclass
class Users:
    """Everybody who is not the program."""

    legacy: Any
    """The connection of the legacy system's users."""
    medplum: Medplum
    dice: random.Random
    cast: Cast = field(default_factory=Cast)
    facts: Facts = field(default_factory=Facts)
    acts: int = 0

    def __post_init__(self) -> None:
        self.facts.edited_at |= dict.fromkeys(self.cast.places, 0)

    def do(self, act: Act, place: Place, element: Element | None = None) -> None:
        """Raises sqlite3.OperationalError, and nothing is done, where the legacy database is locked."""
        element = element or self.dice.choice(ELEMENTS[place[0]])
        self.acts += 1
        _DO[act](self, place, element)
        self.facts.told.append(f"{self.acts} {act} {place[0]} {place[1]} {element.column}")

    # -- the legacy side ---------------------------------------------------------------------------

    def edit_row(self, place: Place, element: Element) -> None:
        self._set(place, element, self.fresh(element))

    def edit_row_twice(self, place: Place, element: Element) -> None:
        self._set(place, element, self.fresh(element))
        self._set(place, element, self.fresh(element))

    def _set(self, place: Place, element: Element, value: Any) -> None:
        entity, key = place
        found = self.legacy.execute(f"UPDATE {entity} SET {element.column} = ? WHERE id = ?", (value, key))
        if found.rowcount:
            self._acted(place)

    def touch_row(self, place: Place, element: Element) -> None:
        entity, key = place
        self.legacy.execute(f"UPDATE {entity} SET {element.column} = {element.column} WHERE id = ?", (key,))

    def undo_row(self, place: Place, element: Element) -> None:
        entity, key = place
        self.legacy.execute("BEGIN IMMEDIATE")
        self.legacy.execute(f"UPDATE {entity} SET {element.column} = ? WHERE id = ?", (self.fresh(element), key))
        self.legacy.execute("ROLLBACK")

    def delete_row(self, place: Place, _: Element) -> None:
        self.legacy.execute(f"DELETE FROM {place[0]} WHERE id = ?", (place[1],))

    def hide_row(self, place: Place, _: Element) -> None:
        self.legacy.execute("UPDATE patient SET deleted_at = '2026-01-01 00:00:00' WHERE id = ?", (place[1],))

    def leave(self, place: Place, _: Element) -> None:
        self.legacy.execute(f"UPDATE {place[0]} SET unit = 'nowhere' WHERE id = ?", (place[1],))

    def restore_row(self, place: Place, element: Element) -> None:
        """Bring it back, whatever it was that took it away."""
        entity, key = place
        if self.legacy.execute(f"SELECT 1 FROM {entity} WHERE id = ?", (key,)).fetchone() is None:
            self.birth(place, element)
            return
        gone, back = "unit <> 'north'", "unit = 'north'"
        if entity == "patient":
            gone, back = f"deleted_at IS NOT NULL OR {gone}", f"deleted_at = NULL, {back}"
        was_gone = self.legacy.execute(f"SELECT 1 FROM {entity} WHERE id = ? AND ({gone})", (key,)).fetchone()
        self.legacy.execute(f"UPDATE {entity} SET {back} WHERE id = ?", (key,))
        if was_gone:  # else it is as it was: a change that changes nothing
            self._acted(place)

    def birth(self, place: Place, element: Element) -> None:
        entity, key = place
        if self.legacy.execute(f"SELECT 1 FROM {entity} WHERE id = ?", (key,)).fetchone():
            self.edit_row(place, element)
            return
        values = {one.column: self.fresh(one) for one in ELEMENTS[entity]}
        if entity == "patient":
            row = (key, "north", 1, values["family"], values["born"], "F", None)
        else:
            taken_at = self.dice.choice((TOLD_TWICE, "2026-11-01 03:30:00"))
            row = (key, "north", self.cast.patients[key % 2], values["kg"], taken_at, "2026-11-01 09:00:00")
        self.legacy.execute(f"INSERT INTO {entity} VALUES ({', '.join('?' * len(row))})", row)
        self._acted(place)

    def _acted(self, place: Place) -> None:
        self.facts.edited_at[place] = self.acts

    def fresh(self, element: Element) -> Any:
        self.acts += 1
        return element.fresh(self.acts)

    # -- Medplum's side ----------------------------------------------------------------------------

    def edit(self, place: Place, element: Element) -> None:
        self._change(place, lambda body: element.put(body, self.fresh(element)))

    def edit_slowly(self, place: Place, element: Element) -> None:
        for kind, id_, versions in resources(self.medplum, place):
            if versions[-1].body is not None:
                body = copy.deepcopy(versions[-1].body)
                element.put(body, self.fresh(element))
                self.medplum.put_slowly(kind, id_, body, USER, self.dice.choice((5.0, 60.0, 110.0, 1_000.0)))

    def add(self, place: Place, _: Element) -> None:
        self.acts += 1
        number = str(self.acts)
        if place[0] == "patient":
            self._change(place, lambda body: body.update(telecom=[{"system": "phone", "value": number}]))
        else:
            self._change(place, lambda body: body.update(note=[{"text": number}]))

    def edit_both_alike(self, place: Place, element: Element) -> None:
        value = self.fresh(element)
        self.facts.alike.add(value)
        self._set(place, element, value)
        self._change(place, lambda body: element.put(body, value))

    def edit_both(self, place: Place, element: Element) -> None:
        self._set(place, element, self.fresh(element))
        self.edit(place, element)

    def delete(self, place: Place, _: Element) -> None:
        for kind, id_, versions in resources(self.medplum, place):
            if versions[-1].body is not None:
                self.send({"request": {"method": "DELETE", "url": f"{kind}/{id_}"}})
                self.facts.deleted_at[place] = self.acts

    def restore(self, place: Place, _: Element) -> None:
        for _, id_, versions in resources(self.medplum, place):
            if versions[-1].body is None:
                self._put(id_, copy.deepcopy(next(one.body for one in reversed(versions) if one.body)))

    def _change(self, place: Place, change: Callable[[Resource], None]) -> None:
        for _, id_, versions in resources(self.medplum, place):
            if versions[-1].body is not None:
                body = copy.deepcopy(versions[-1].body)
                change(body)
                self._put(id_, body)

    def _put(self, id_: str, body: Resource) -> None:
        kind = body["resourceType"]
        self.send({"resource": {**body, "id": id_}, "request": {"method": "PUT", "url": f"{kind}/{id_}"}})

    def send(self, entry: Resource) -> Resource:
        [answer] = self.medplum.batch({"entry": [entry]}, USER)["entry"]
        assert answer["response"]["status"] in ("200", "201"), answer
        answered: Resource = answer.get("resource", {})
        return answered


_DO: dict[Act, Callable[[Users, Place, Element], None]] = {
    Act.EDIT_ROW: Users.edit_row,
    Act.EDIT_ROW_TWICE: Users.edit_row_twice,
    Act.TOUCH_ROW: Users.touch_row,
    Act.UNDO_ROW: Users.undo_row,
    Act.DELETE_ROW: Users.delete_row,
    Act.HIDE_ROW: Users.hide_row,
    Act.RESTORE_ROW: Users.restore_row,
    Act.LEAVE: Users.leave,
    Act.BIRTH: Users.birth,
    Act.EDIT_BOTH_ALIKE: Users.edit_both_alike,
    Act.EDIT_BOTH: Users.edit_both,
    Act.EDIT: Users.edit,
    Act.EDIT_SLOWLY: Users.edit_slowly,
    Act.ADD: Users.add,
    Act.DELETE: Users.delete,
    Act.RESTORE: Users.restore,
}


def resources(medplum: Medplum, place: Place) -> list[Named]:
    """Everything that has ever had the name of a row."""
    kind = TYPES[place[0]]
    named = medplum.named(kind, {"system": f"{BASE}/{place[0]}", "value": str(place[1])})
    return [(kind, id_, versions) for id_, versions in named]


def is_ours(version: Version) -> bool:
    """Whether the program wrote it."""
    return version.author == CLIENT
