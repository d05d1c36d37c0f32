"""What users create in Medplum, what they do with it, and what must be true of it in the end."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any

from medferry.source.births import BORN
from tests.simulator.legacy import PROGRAM, all_written
from tests.simulator.users import BASE, ELEMENTS, FAMILY, Named, Place, Users

Resource = dict[str, Any]


class Creation(StrEnum):
    """Which of the resources, or of their rows, is by lot."""

    CREATE = "create resource"
    EDIT = "edit what was created"
    DELETE = "delete what was created"
    EDIT_ROW = "edit the row of what was created"
    DELETE_ROW = "delete the row of what was created"


def do(users: Users, act: Creation) -> None:
    """Raises sqlite3.OperationalError, and nothing is done, where the legacy database is locked."""
    users.acts += 1
    users.facts.told.append(f"{users.acts} {act}")
    _DO[act](users)


def born(legacy: Any) -> dict[str, Place]:
    """Medplum id → the row that was inserted for it."""
    rows = legacy.execute(f"SELECT medplum_id, entity, {'`key`' if _is_mysql(legacy) else 'key'} FROM {BORN}")
    return {id_: (entity, int(key)) for id_, entity, key in rows.fetchall()}


def _is_mysql(legacy: Any) -> bool:
    return getattr(legacy, "postgresql", True) is False


def versions_of_rows(users: Users) -> dict[Place, Named]:
    """Row → the resource for which it was inserted."""
    if not users.facts.created:
        return {}
    lines = born(users.legacy).items()
    return {place: ("Patient", id_, users.medplum.versions["Patient", id_]) for id_, place in lines}


def problems(users: Users, both: bool) -> Iterator[str]:
    """One row for each that is there, and none for anything else. `both`: what is created in Medplum is to get rows."""
    lines = born(users.legacy)
    inserted = [(one.entity, one.key) for one in all_written(users.legacy) if (one.who, one.column) == (PROGRAM, "sex")]
    if sorted(inserted) != sorted(lines.values()):
        yield f"rows were inserted that nobody created: {inserted}, {lines}"
    for id_ in users.facts.created:
        alive = _body(users, id_) is not None
        if id_ in lines and not both:
            yield f"{id_} got a row, and no way back was gone"
        if alive and both and id_ not in lines:
            yield f"{id_} was created in Medplum and has no row"
        named = [one["value"] for one in (_body(users, id_) or {}).get("identifier", [])]
        is_row = id_ in lines and lines[id_][1] in _rows(users)
        if alive and is_row and named != [str(lines[id_][1])]:
            yield f"{id_} has the identifiers {named}"
    if strays := set(lines) - set(users.facts.created):
        yield f"{len(strays)} rows of resources that users did not create"


def _rows(users: Users) -> set[int]:
    return {key for (key,) in users.legacy.execute("SELECT id FROM patient").fetchall()}


def _body(users: Users, id_: str) -> Resource | None:
    versions = users.medplum.versions.get(("Patient", id_), [])
    return versions[-1].body if versions else None


def _create(users: Users) -> None:
    [(clinic, _)] = users.medplum.named("Organization", {"system": f"{BASE}/clinic", "value": "1"})
    person = {
        "resourceType": "Patient",
        "gender": "female",
        "managingOrganization": {"reference": f"Organization/{clinic}"},
        "telecom": [{"system": "phone", "value": str(users.acts)}],
    }
    for element in ELEMENTS["patient"]:
        element.put(person, users.fresh(element))
    made = users.send({"resource": person, "request": {"method": "POST", "url": "Patient"}})
    users.facts.created.append(made["id"])


def _chosen(users: Users) -> tuple[str, Resource] | None:
    alive = [(id_, body) for id_ in users.facts.created if (body := _body(users, id_)) is not None]
    return users.dice.choice(alive) if alive else None


def _edit(users: Users) -> None:
    if chosen := _chosen(users):
        id_, body = chosen[0], copy.deepcopy(chosen[1])
        element = users.dice.choice(ELEMENTS["patient"])
        element.put(body, users.fresh(element))
        users.send({"resource": {**body, "id": id_}, "request": {"method": "PUT", "url": f"Patient/{id_}"}})


def _delete(users: Users) -> None:
    if chosen := _chosen(users):
        users.send({"request": {"method": "DELETE", "url": f"Patient/{chosen[0]}"}})
        for id_, place in born(users.legacy).items():
            if id_ == chosen[0]:
                users.facts.deleted_at[place] = users.acts


def _edit_row(users: Users) -> None:
    if lines := sorted(born(users.legacy).values()):
        users.edit_row(users.dice.choice(lines), users.dice.choice(ELEMENTS["patient"]))


def _delete_row(users: Users) -> None:
    if lines := sorted(born(users.legacy).values()):
        users.delete_row(users.dice.choice(lines), FAMILY)


_DO: dict[Creation, Callable[[Users], None]] = {
    Creation.CREATE: _create,
    Creation.EDIT: _edit,
    Creation.DELETE: _delete,
    Creation.EDIT_ROW: _edit_row,
    Creation.DELETE_ROW: _delete_row,
}
