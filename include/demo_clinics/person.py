"""Patients: who they are, where they are registered, and the rows that say so."""

from dataclasses import dataclass, field
from datetime import date, timedelta
from random import Random
from typing import Any

from demo_clinics.dirt import ORPHAN_BASE
from demo_clinics.group import phone, street
from demo_clinics.record import AS_OF, Record, at, to_utc
from demo_clinics.schema import SHARED
from demo_clinics.words import FAMILIES, GIVEN, SUFFIXES
from demo_clinics.world import Clinic, World

TODAY = AS_OF.date()
_AGES = ((1, 17, 22), (18, 44, 33), (45, 64, 27), (65, 94, 18))
_LANGUAGES = ("ENG",) * 14 + ("SPA",) * 3 + ("CHI", "VIE", "HAT")

CANARY_EVERY = 10
"""With a canary, every tenth patient's family name carries it (unless dirt replaced the name)."""

OUTSIDE_EVERY = 150
"""After every so many patients, one row of each folded table belongs to nobody."""


@dataclass(slots=True)
class Person:
    """A patient while their chart is made."""

    record: Record
    clinics: list[Clinic]
    born: date
    died: date | None
    sex: str
    stature: float
    build: float
    problems: set[str] = field(default_factory=set)
    allergies: set[str] = field(default_factory=set)
    vaccinated: set[str] = field(default_factory=set)

    @property
    def last_day(self) -> date:
        """The last day something can happen to this person."""
        return min(self.died or TODAY, TODAY - timedelta(days=4))

    def age(self, day: date) -> int:
        """Completed years."""
        return day.year - self.born.year - ((day.month, day.day) < (self.born.month, self.born.day))


def add_person(world: World, canary: str | None) -> Person:
    """Add a patient with addresses, phones, identifiers and registrations."""
    rng = world.rng
    clinics = rng.sample(world.clinics, 2 if len(world.clinics) > 1 and rng.random() < 0.06 else 1)
    home, unit = clinics[0], clinics[0].unit if len(clinics) == 1 else SHARED
    born = _birth_date(rng)
    died = _death_date(born, rng)
    sex = rng.choices("FMXU", (51, 47, 1, 1))[0]
    clean = _demographics(world, sex, born, died, canary) | _folded(world, home)
    touched = AS_OF - timedelta(minutes=rng.randrange(60, 400_000))
    doctors = [s for s in home.prescribers if unit != SHARED or s.unit == SHARED]
    references = {"home_clinic_id": home.record}
    if doctors and rng.random() < 0.7:
        references["pcp_staff_id"] = rng.choice(doctors)
    record = world.add("patient", unit, home.zone, {"pcp_staff_id": None} | clean, references, touched)
    _loose_rows(world, record, clinics)
    return Person(record, clinics, born, died, sex, rng.gauss(0, 1), max(min(rng.gauss(0, 1), 3), -1.8))


def _birth_date(rng: Random) -> date:
    low, high, _ = rng.choices(_AGES, [a[2] for a in _AGES])[0]
    return TODAY - timedelta(days=rng.randrange(low * 365 + 30, (high + 1) * 365))


def _death_date(born: date, rng: Random) -> date | None:
    if (TODAY - born).days < 70 * 365 or rng.random() > 0.08:
        return None
    return date(2023, 7, 1) + timedelta(days=rng.randrange(600))


def _demographics(world: World, sex: str, born: date, died: date | None, canary: str | None) -> dict[str, Any]:
    rng, number = world.rng, world.next_key("mrn")
    given = GIVEN[sex if sex in GIVEN else rng.choice("FM")]
    family = rng.choice(FAMILIES)
    adult = (TODAY - born).days > 18 * 365
    marked = canary and number % CANARY_EVERY == 0
    return {
        "mrn": f"{10_417 + 37 * number:08}",
        "family_name": f"{family} {canary}" if marked else family,
        "given_name": rng.choice(given),
        "middle_name": rng.choice((rng.choice(given), None, "", None)),
        "suffix": rng.choice(SUFFIXES) if rng.random() < 0.04 else None,
        "birth_date": born.isoformat(),
        "sex_code": sex,
        "deceased_on": died,
        "marital_code": rng.choice("SMMMDWP") if adult else "S",
        "language_code": rng.choice(_LANGUAGES),
        "email": f"p{number}@mail.example" if adult and rng.random() < 0.6 else rng.choice((None, "", "N/A")),
        "merged_into": None,
        "test_flag": "N",
    }


def _folded(world: World, home: Clinic) -> dict[str, Any]:
    """What Patient holds from other tables: the primary address, phones by kind, identifiers by type."""
    rng = world.rng
    address = {
        "line1": street(world),
        "line2": f"Apt {rng.randrange(1, 30)}" if rng.random() < 0.3 else rng.choice((None, "")),
        "city": home.record.clean["city"],
        "state": home.record.clean["state"],
        "postal_code": rng.choice(home.zips),
    }
    kinds = [k for k, share in (("H", 0.6), ("M", 0.8), ("W", 0.2)) if rng.random() < share]
    ssn = f"{rng.randrange(900, 999)}-{rng.randrange(10, 99)}-{rng.randrange(10_000):04}"
    return {
        "address": address if rng.random() < 0.97 else None,
        "phones": {kind: phone(world) for kind in kinds},
        "ssn": ssn if rng.random() < 0.8 else None,
        "medicaid": f"{rng.randrange(10**8):010}" if rng.random() < 0.2 else None,
    }


def _loose_rows(world: World, record: Record, clinics: list[Clinic]) -> None:
    row, rng = record.row, world.rng
    if row["address"]:
        _loose(world, record, "patient_addresses", "address_id", kind_code="H", is_primary="Y", **row["address"])
        if rng.random() < 0.15:
            former = {**row["address"], "line1": street(world), "line2": None}
            _loose(world, record, "patient_addresses", "address_id", kind_code="O", is_primary="N", **former)
    for kind, number in row["phones"].items():
        _loose(world, record, "patient_phones", "phone_id", kind_code=kind, number=number)
    if rng.random() < 0.05:
        _loose(world, record, "patient_phones", "phone_id", deleted=True, kind_code="M", number=phone(world))
    for kind, value in (("SSN", row["ssn"]), ("MCD", row["medicaid"])):
        if value:
            _loose(world, record, "patient_identifiers", "identifier_id", type_code=kind, value=value)
    _registrations(world, record, clinics)
    if int(record.key) % OUTSIDE_EVERY == 0:
        _orphans(world, record)


def _registrations(world: World, record: Record, clinics: list[Clinic]) -> None:
    rng = world.rng
    for clinic in clinics:
        _loose(world, record, "clinic_registrations", "registration_id", clinic_id=clinic.unit,
               registered_on=date(rng.randrange(2008, 2019), rng.randrange(1, 13), 3), status_code="A")  # fmt: skip
    others = [c for c in world.clinics if c not in clinics]
    if others and rng.random() < 0.05:  # taken back: the unit stays
        _loose(
            world,
            record,
            "clinic_registrations",
            "registration_id",
            deleted=True,
            clinic_id=rng.choice(others).unit,
            registered_on=date(2019, 2, 3),
            status_code="I",
        )


def _loose(world: World, record: Record, table: str, key: str, deleted: bool = False, **values: Any) -> int:
    updated = to_utc(at(date(2019, 3, 1), 9), record.zone)
    number = world.next_key(table)
    row = {key: number, "patient_id": record.key, **values, "updated_at": updated}
    world.loose.append((table, row | {"deleted_at": updated if deleted else None}))
    return number


def _orphans(world: World, record: Record) -> None:
    """A row of each folded table that belongs to a patient who does not exist."""
    nobody = ORPHAN_BASE + int(record.key)
    rows: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("patient_addresses", "address_id", {"kind_code": "H", "is_primary": "Y", "line1": street(world)}),
        ("patient_phones", "phone_id", {"kind_code": "H", "number": phone(world)}),
        ("patient_identifiers", "identifier_id", {"type_code": "MCD", "value": "0000000000"}),
    )
    for table, key, values in rows:
        number = _loose(world, record, table, key, **values)
        world.loose[-1][1]["patient_id"] = nobody
        world.outside.setdefault(table, []).append(number)
