"""The front desk, the nurses and the doctors at the legacy system: one transaction of the application each."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from random import Random
from typing import Any

import sqlalchemy as sa

from demo_clinics.codes import TABLES
from demo_clinics.living.facts import Facts, Record, number, wall_time
from demo_clinics.schema import ENTITIES, METADATA
from demo_clinics.words import FAMILIES, GIVEN, STREET_KINDS, STREETS

_WORKED_AT = ("patient", "appointment", "vitals", "problem", "prescription")
_FIRST_DAY = date(2027, 1, 4)
_CITY, _STATE, _POSTAL_CODE = "Burlington", "VT", "05401"


@dataclass(slots=True)
class Ward:
    """A clinic of the legacy system as its users know it: its records by entity, its people and rooms."""

    clinic: str
    zone: str
    keys: dict[str, list[str]]
    staff: list[int]
    rooms: list[int]
    _serial: int
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, engine: sa.Engine, clinic: str) -> Ward:
        """Read from the database."""
        with engine.begin() as connection:
            keys = {name: _keys(connection, clinic, name) for name in _WORKED_AT}
            zone = connection.scalar(sa.text("SELECT time_zone FROM clinics WHERE clinic_id = :c"), {"c": clinic})
            staff = connection.scalars(
                sa.text("SELECT DISTINCT staff_id FROM staff_clinics WHERE clinic_id = :c ORDER BY staff_id"),
                {"c": clinic},
            )
            rooms = connection.scalars(
                sa.text("SELECT location_id FROM locations WHERE clinic_id = :c AND deleted_at IS NULL ORDER BY 1"),
                {"c": clinic},
            )
            return cls(clinic, str(zone), keys, list(staff), list(rooms), _newest(connection))

    def pick(self, chance: Random, entity: str) -> str:
        """Some record; the newest are worked at more than the others."""
        keys = self.keys[entity]
        return chance.choice(keys[-20:]) if chance.random() < 0.5 else chance.choice(keys)

    def born(self, record: Record) -> None:
        entity, key = record
        self.keys[entity].append(key)

    def serial(self) -> int:
        """Another number each time, so that no text is written twice."""
        with self._lock:
            self._serial += 1
            return self._serial


def _keys(connection: sa.Connection, clinic: str, entity: str) -> list[str]:
    table, key = ENTITIES[entity]
    column = "home_clinic_id" if entity == "patient" else "clinic_id"
    found = connection.scalars(
        sa.text(f"SELECT {key} FROM {table} WHERE {column} = :clinic AND deleted_at IS NULL ORDER BY {key}"),
        {"clinic": clinic},
    )
    return [str(each) for each in found]


def _newest(connection: sa.Connection) -> int:
    """The greatest key of any table: what was written before has smaller numbers in it."""
    keys = [(table, next(iter(table.primary_key.columns))) for table in METADATA.sorted_tables]
    greatest = [sa.select(sa.func.max(key)) for _, key in keys if isinstance(key.type, sa.Integer)]
    return max(connection.scalar(each) or 0 for each in greatest)


@dataclass(frozen=True, slots=True)
class Desk:
    """Where somebody works: within a transaction, at a ward."""

    connection: sa.Connection
    ward: Ward
    chance: Random

    def insert(self, entity: str, **values: Any) -> Record:
        key = self.insert_into(ENTITIES[entity][0], **values)
        return entity, str(key)

    def insert_into(self, table: str, **values: Any) -> int:
        """Returns the key, which the database makes."""
        done = self.connection.execute(sa.insert(METADATA.tables[table]).values(updated_at=_now(), **values))
        return int((done.inserted_primary_key or (0,))[0])

    def update(self, record: Record, **values: Any) -> None:
        table, key = ENTITIES[record[0]]
        target = METADATA.tables[table]
        changed = sa.update(target).where(target.c[key] == int(record[1])).values(updated_at=_now(), **values)
        self.connection.execute(changed)

    def read(self, record: Record, column: str) -> Any:
        """For update: nobody else changes it until the transaction ends."""
        table, key = ENTITIES[record[0]]
        target = METADATA.tables[table]
        statement = sa.select(target.c[column]).where(target.c[key] == int(record[1])).with_for_update()
        return self.connection.scalar(statement)

    def somebody(self) -> int:
        return self.chance.choice(self.ward.staff)

    def patient(self) -> int:
        return int(self.ward.pick(self.chance, "patient"))

    def hour(self) -> datetime:
        return hour(self.chance)

    def own(self, **values: Any) -> dict[str, Any]:
        """What every row of the clinic says."""
        return {"clinic_id": self.ward.clinic, "staff_id": self.somebody(), **values}


def hour(chance: Random) -> datetime:
    """An hour of a coming day at which a clinic is open and no clock is changed."""
    day = _FIRST_DAY + timedelta(days=chance.randrange(180))
    return datetime.combine(day, time(chance.randrange(9, 16), 5 * chance.randrange(12)))


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None, microsecond=0)


Done = tuple[Record, Facts]
Act = Callable[[Desk, str], Done]
"""Works at a record with the key that is given; a birth has another one."""


def book(desk: Desk, _: str) -> Done:
    start, minutes, reason = desk.hour(), desk.chance.choice((15, 20, 30)), f"Follow-up {desk.ward.serial()}"
    values = desk.own(patient_id=desk.patient(), starts_at=start, minutes=minutes, status_code="B", reason_text=reason)
    facts = {"start": wall_time(start, desk.ward.zone), "minutes": number(minutes), "status": "booked"}
    return desk.insert("appointment", type_code="FU", **values), {**facts, "reason": reason}


def move(desk: Desk, key: str) -> Done:
    start, minutes = desk.hour(), desk.chance.choice((15, 20, 30, 40))
    desk.update(("appointment", key), starts_at=start, minutes=minutes)
    return ("appointment", key), {"start": wall_time(start, desk.ward.zone), "minutes": number(minutes)}


def cancel(desk: Desk, key: str) -> Done:
    """Or book it again, where it is cancelled."""
    local, status = ("B", "booked") if desk.read(("appointment", key), "status_code") == "C" else ("C", "cancelled")
    desk.update(("appointment", key), status_code=local)
    return ("appointment", key), {"status": status}


def register(desk: Desk, _: str) -> Done:
    chance, ward, serial = desk.chance, desk.ward, desk.ward.serial()
    sex = chance.choice("FM")
    family, given, line = _family(desk), chance.choice(GIVEN[sex]), _street(desk)
    record = desk.insert(
        "patient", mrn=f"L{serial:07}", home_clinic_id=ward.clinic, family_name=family, given_name=given, sex_code=sex,
        birth_date="1984-05-17", marital_code="S", language_code="ENG", test_flag="N", pcp_staff_id=desk.somebody(),
    )  # fmt: skip
    patient = int(record[1])
    desk.insert_into("clinic_registrations", patient_id=patient, clinic_id=ward.clinic, status_code="A")
    desk.insert_into(
        "patient_addresses", patient_id=patient, kind_code="H", is_primary="Y", line1=line, city=_CITY, state=_STATE,
        postal_code=_POSTAL_CODE,
    )  # fmt: skip
    facts: Facts = {"family_name": family, "given_name": given, "line1": line, "city": _CITY}
    return record, {**facts, "postal_code": _POSTAL_CODE}


def correct_name(desk: Desk, key: str) -> Done:
    family = _family(desk)
    desk.update(("patient", key), family_name=family)
    return ("patient", key), {"family_name": family}


def correct_address(desk: Desk, key: str) -> Done:
    line = _street(desk)
    there = desk.connection.scalar(
        sa.text("SELECT count(*) FROM patient_addresses WHERE patient_id = :p AND is_primary = 'Y'"), {"p": int(key)}
    )
    if not there:
        return correct_name(desk, key)
    addresses = METADATA.tables["patient_addresses"]
    desk.connection.execute(
        sa.update(addresses)
        .where(addresses.c.patient_id == int(key), addresses.c.is_primary == "Y")
        .values(line1=line, updated_at=_now())
    )
    desk.update(("patient", key))
    return ("patient", key), {"line1": line}


def take_vitals(desk: Desk, _: str) -> Done:
    chance = desk.chance
    found: dict[str, Any] = {"systolic": chance.randrange(95, 160), "diastolic": chance.randrange(55, 94)}
    found |= {"heart_rate": chance.randrange(52, 110), "weight": chance.randrange(100, 260)}
    values = desk.own(patient_id=desk.patient(), taken_at=desk.hour().replace(year=2026), weight_unit="lb", **found)
    return desk.insert("vitals", **values), {name: number(value) for name, value in found.items()}


def correct_vitals(desk: Desk, key: str) -> Done:
    known = desk.read(("vitals", key), "heart_rate")
    value = 52 + ((known or 60) - 51) % 58
    desk.update(("vitals", key), heart_rate=value)
    return ("vitals", key), {"heart_rate": number(value)}


def add_problem(desk: Desk, _: str) -> Done:
    code = desk.chance.choice([each for each in TABLES["problem"].values() if each.code])
    words = f"{code.meaning}, seen {desk.ward.serial()}"
    values = desk.own(patient_id=desk.patient(), recorded_at=desk.hour().replace(year=2026))
    record = desk.insert("problem", problem_code=code.local, problem_text=words, status_code="A", **values)
    return record, {"status": "active", "words": words}


def resolve_problem(desk: Desk, key: str) -> Done:
    """Or find that it is not, where it was resolved."""
    if desk.read(("problem", key), "status_code") == "R":
        desk.update(("problem", key), status_code="A", resolved_on=None)  # FHIR: what is active has no end (con-4)
        return ("problem", key), {"status": "active"}
    desk.update(("problem", key), status_code="R")
    return ("problem", key), {"status": "resolved"}


def prescribe(desk: Desk, _: str) -> Done:
    code = desk.chance.choice([each for each in TABLES["drug"].values() if each.code])
    directions, refills = _directions(desk), desk.chance.randrange(6)
    values = desk.own(patient_id=desk.patient(), written_at=desk.hour().replace(year=2026), status_code="A")
    record = desk.insert(
        "prescription", drug_code=code.local, drug_text=code.meaning, sig_text=directions, quantity=30, refills=refills,
        **values,
    )  # fmt: skip
    return record, {"status": "active", "directions": directions, "refills": number(refills)}


def change_directions(desk: Desk, key: str) -> Done:
    directions = _directions(desk)
    desk.update(("prescription", key), sig_text=directions)
    return ("prescription", key), {"directions": directions}


def _directions(desk: Desk) -> str:
    return f"Take {desk.chance.randrange(1, 4)} tablets with food, note {desk.ward.serial()}"


def _family(desk: Desk) -> str:
    return f"{desk.chance.choice(FAMILIES)}-{desk.chance.choice(FAMILIES)} {desk.ward.serial()}"


def _street(desk: Desk) -> str:
    return f"{desk.ward.serial()} {desk.chance.choice(STREETS)} {desk.chance.choice(STREET_KINDS)}"


ACTS: dict[str, tuple[Act, str, int]] = {
    "books": (book, "", 3),
    "moves": (move, "appointment", 3),
    "cancels": (cancel, "appointment", 1),
    "registers": (register, "", 1),
    "corrects a name": (correct_name, "patient", 2),
    "corrects an address": (correct_address, "patient", 2),
    "takes vitals": (take_vitals, "", 4),
    "corrects vitals": (correct_vitals, "vitals", 1),
    "adds a problem": (add_problem, "", 2),
    "resolves a problem": (resolve_problem, "problem", 1),
    "prescribes": (prescribe, "", 2),
    "changes directions": (change_directions, "prescription", 2),
}
"""Name → the act, the entity that it changes a record of ("" for a birth), how often it is chosen beside the others."""
