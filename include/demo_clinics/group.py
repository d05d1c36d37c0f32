"""The group before the first patient: organisation, clinics, rooms, staff and who works where."""

from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from demo_clinics.record import AS_OF, Record
from demo_clinics.schema import SHARED
from demo_clinics.words import CLINICS, FAMILIES, GIVEN, STREET_KINDS, STREETS
from demo_clinics.world import Clinic, World

_GROUP_ZONE = ZoneInfo("America/New_York")
_OLD = AS_OF - timedelta(days=900)

_POSTS = (
    # credential, role, specialty
    ("MD", "PHYS", "FM"), ("DO", "PHYS", "IM"), ("NP", "PHYS", "FM"), ("PA", "PHYS", "UC"), ("MD", "PHYS", "PED"),
    ("RN", "NURSE", None), ("RN", "NURSE", None), ("MA", "MA", None), ("FD", "FRONT", None),
)  # fmt: skip


def build_group(world: World, clinics: int) -> None:
    """Add the group with `clinics` clinics: the first four of words.CLINICS, then nameless ones."""
    organization = world.add("organization", SHARED, _GROUP_ZONE, _organization(world), {}, _OLD)
    for place in _places(clinics):
        world.clinics.append(_clinic(world, organization, *place))
    for clinic in world.clinics:
        _rooms(world, clinic)
    for clinic in world.clinics:
        for post in _POSTS:
            _employ(world, post, [clinic])
    for n in range(max(len(world.clinics) // 2, 1) if len(world.clinics) > 1 else 0):
        _employ(world, _POSTS[n % len(_POSTS)], [world.clinics[n], world.clinics[n + 1]])


def _places(count: int) -> list[tuple[Any, ...]]:
    extra = [(f"clinic{n:02}", f"Clinic {n}", *CLINICS[n % 3][2:]) for n in range(len(CLINICS) + 1, count + 1)]
    return [*CLINICS, *extra][:count]


def phone(world: World) -> str:
    """A number of the range kept for fiction."""
    rng = world.rng
    return f"({rng.choice((617, 508, 802, 608))}) 555-01{rng.randrange(100):02}"


def street(world: World) -> str:
    """A street address."""
    rng = world.rng
    return f"{rng.randrange(1, 400)} {rng.choice(STREETS)} {rng.choice(STREET_KINDS)}"


def _organization(world: World) -> dict[str, Any]:
    return {
        "name": "United Clinics of the Northeast", "npi": "1999999984", "phone": phone(world),
        "address_line": street(world), "city": "Boston", "state": "MA", "postal_code": "02108",
    }  # fmt: skip


def _clinic(
    world: World,
    organization: Record,
    clinic_id: str,
    name: str,
    city: str,
    state: str,
    zips: tuple[str, ...],
    zone: str,
) -> Clinic:
    clean = {
        "name": name,
        "npi": f"19999{world.rng.randrange(10**5):05}",
        "phone": phone(world),
        "address_line": street(world),
        "city": city,
        "state": state,
        "postal_code": zips[0],
        "time_zone": zone,
        "opened_on": date(world.rng.randrange(1968, 2012), 9, 1),
    }
    record = world.add("clinic", SHARED, ZoneInfo(zone), clean, {"org_id": organization}, _OLD, key=clinic_id)
    return Clinic(record, ZoneInfo(zone), zips)


def _rooms(world: World, clinic: Clinic) -> None:
    building = _room(world, clinic, f"{clinic.record.clean['name']}, main building", "BLDG", None)
    for number in range(1, 7):
        room = _room(world, clinic, f"Exam room {number}", "EXAM", building)
        if room.row["deleted_at"] is None:
            clinic.rooms.append(room)
    _room(world, clinic, "Laboratory", "LAB", building)
    _room(world, clinic, "Waiting area", "WAIT", building)


def _room(world: World, clinic: Clinic, name: str, kind: str, building: Record | None) -> Record:
    references = {"clinic_id": clinic.record} | ({"parent_location_id": building} if building else {})
    clean = {"name": name, "kind_code": kind, "status_code": "A"} | ({} if building else {"parent_location_id": None})
    return world.add("location", clinic.unit, clinic.zone, clean, references, _OLD)


def _employ(world: World, post: tuple[str, str, str | None], clinics: list[Clinic]) -> None:
    """One person, and the assignment to each clinic. People of several clinics belong to `shared`."""
    credential, role, specialty = post
    unit = clinics[0].unit if len(clinics) == 1 else SHARED
    person = world.add("staff", unit, clinics[0].zone, _person(world, credential), {}, _OLD)
    for clinic in clinics:
        if not person.deleted:
            clinic.staff.append(person)
        start = date(world.rng.randrange(2005, 2022), world.rng.randrange(1, 13), 1)
        clean = {"role_code": role, "specialty_code": specialty, "start_on": start, "end_on": None}
        references = {"staff_id": person, "clinic_id": clinic.record}
        world.add("assignment", clinic.unit, clinic.zone, clean, references, _OLD)


def _person(world: World, credential: str) -> dict[str, Any]:
    rng = world.rng
    sex = rng.choice("FFM")
    given, family, number = rng.choice(GIVEN[sex]), rng.choice(FAMILIES), world.next_key("staff_no")
    licensed = credential not in ("MA", "FD")
    return {
        "staff_no": f"{number * 7:06}", "npi": f"18888{rng.randrange(10**5):05}" if licensed else None,
        "family_name": family, "given_name": given, "credential_code": credential, "sex_code": sex,
        "email": f"staff{number}@clinics.example", "phone": phone(world), "active_flag": "Y",
    }  # fmt: skip
