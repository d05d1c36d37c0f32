"""What the two systems say of the same record, in the same words. Read by plain SQL and plain searches.

Nothing here is Medferry's: it is the second opinion on what Medferry has done.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import sqlalchemy as sa

from demo_clinics.codes import TABLES

BASE = "https://clinics.example/legacy"
Facts = dict[str, str | None]
"""Field → its value as text; None where it has none. Times are in UTC."""
Record = tuple[str, str]
"""(entity, key)."""
Name = tuple[str, str]
"""(system, value) of an identifier."""

_NOTHING = frozenset({"", "N/A", "-"})
_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Reading:
    """How one entity is read. `select` gives the key as `key`; `where`: of `:clinic`, and what is shared.

    `slots`: the part of the identifier's system behind the entity → the facts of such a resource.
    """

    type: str
    select: str
    key: str
    where: str
    of_row: Callable[[Mapping[str, Any]], Facts]
    slots: Mapping[str, Callable[[Mapping[str, Any]], Facts]]


def text(value: Any) -> str | None:
    """A value as text, None where it says nothing."""
    found = "" if value is None else str(value).strip()
    return None if found in _NOTHING else found


def number(value: Any) -> str | None:
    """A number without needless digits."""
    return None if value is None else f"{Decimal(str(value)).normalize():f}"


def moment(value: str | None) -> str | None:
    """An instant of FHIR in UTC, to the second."""
    return datetime.fromisoformat(value).astimezone(UTC).isoformat(timespec="seconds") if value else None


def wall_time(value: datetime | None, zone: str) -> str | None:
    """A clinic's wall time in UTC."""
    return value.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC).isoformat(timespec="seconds") if value else None


def _code(table: str, local: Any) -> str | None:
    """The agreed code of a local one."""
    known = TABLES[table].get(str(local))
    return known.code if known else None


def _first(values: Any) -> Mapping[str, Any]:
    return values[0] if values else {}


def _clinic_rows(table: str, key: str, columns: str) -> dict[str, str]:
    return {
        "select": f"SELECT x.{key} AS key, c.time_zone, {columns} FROM {table} x "
        "JOIN clinics c ON c.clinic_id = x.clinic_id",
        "key": f"x.{key}",
        "where": "x.clinic_id = :clinic AND x.deleted_at IS NULL",
    }


def _patient_row(row: Mapping[str, Any]) -> Facts:
    plain = ("family_name", "given_name", "email", "line1", "city", "postal_code")
    return {name: text(row[name]) for name in plain}


def _patient(resource: Mapping[str, Any]) -> Facts:
    name, home = _first(resource.get("name")), _first(resource.get("address"))
    mails = [one.get("value") for one in resource.get("telecom", ()) if one.get("system") == "email"]
    return {
        "family_name": text(name.get("family")),
        "given_name": text(_first(name.get("given")) or None),
        "email": text(_first(mails) or None),
        "line1": text(_first(home.get("line")) or None),
        "city": text(home.get("city")),
        "postal_code": text(home.get("postalCode")),
        "contact": text(_first(resource.get("contact")).get("name", {}).get("text")),
    }


def _appointment_row(row: Mapping[str, Any]) -> Facts:
    return {
        "start": wall_time(row["starts_at"], row["time_zone"]),
        "minutes": number(row["minutes"]),
        "status": _code("appointment_status", row["status_code"]),
        "reason": text(row["reason_text"]),
    }


def _appointment(resource: Mapping[str, Any]) -> Facts:
    return {
        "start": moment(resource.get("start")),
        "minutes": number(resource.get("minutesDuration")),
        "status": text(resource.get("status")),
        "reason": text(resource.get("description")),
        "instruction": text(resource.get("patientInstruction")),
    }


def _vitals_row(row: Mapping[str, Any]) -> Facts:
    return {name: number(row[name]) for name in ("weight", "heart_rate", "systolic", "diastolic")}


def _measure(name: str) -> Callable[[Mapping[str, Any]], Facts]:
    return lambda resource: {name: number((resource.get("valueQuantity") or {}).get("value"))}


def _pressure(resource: Mapping[str, Any]) -> Facts:
    codes = {TABLES["vital"][name].code: name for name in ("systolic", "diastolic")}
    found = {codes[coding["code"]]: component.get("valueQuantity", {}).get("value")
             for component in resource.get("component", ()) for coding in component["code"]["coding"]
             if coding["code"] in codes}  # fmt: skip
    return {name: number(found.get(name)) for name in codes.values()}


def _problem_row(row: Mapping[str, Any]) -> Facts:
    return {"status": _code("problem_status", row["status_code"]), "words": text(row["problem_text"])}


def _problem(resource: Mapping[str, Any]) -> Facts:
    return {
        "status": _first(resource.get("clinicalStatus", {}).get("coding")).get("code"),
        "words": text(resource.get("code", {}).get("text")),
        "note": text(_first(resource.get("note")).get("text")),
    }


def _prescription_row(row: Mapping[str, Any]) -> Facts:
    return {
        "status": _code("prescription_status", row["status_code"]),
        "directions": text(row["sig_text"]),
        "refills": number(row["refills"]),
    }


def _prescription(resource: Mapping[str, Any]) -> Facts:
    return {
        "status": text(resource.get("status")),
        "directions": text(_first(resource.get("dosageInstruction")).get("text")),
        "refills": number((resource.get("dispenseRequest") or {}).get("numberOfRepeatsAllowed")),
        "note": text(_first(resource.get("note")).get("text")),
    }


READINGS: Mapping[str, Reading] = {
    "patient": Reading(
        "Patient",
        "SELECT p.patient_id AS key, p.family_name, p.given_name, p.email, a.line1, a.city, a.postal_code "
        "FROM patients p LEFT JOIN patient_addresses a "
        "ON a.patient_id = p.patient_id AND a.is_primary = 'Y' AND a.deleted_at IS NULL",
        "p.patient_id",
        "p.deleted_at IS NULL AND (p.home_clinic_id = :clinic OR (SELECT count(DISTINCT r.clinic_id) "
        "FROM clinic_registrations r WHERE r.patient_id = p.patient_id AND r.deleted_at IS NULL) > 1)",
        _patient_row,
        {"": _patient},
    ),
    "appointment": Reading(
        "Appointment",
        **_clinic_rows("appointments", "appointment_id", "x.starts_at, x.minutes, x.status_code, x.reason_text"),
        of_row=_appointment_row,
        slots={"": _appointment},
    ),
    "vitals": Reading(
        "Observation",
        **_clinic_rows("vitals", "vitals_id", "x.weight, x.heart_rate, x.systolic, x.diastolic"),
        of_row=_vitals_row,
        slots={
            "/weight": _measure("weight"),
            "/heart_rate": _measure("heart_rate"),
            "/blood_pressure": _pressure,
        },
    ),
    "problem": Reading(
        "Condition",
        **_clinic_rows("problems", "problem_id", "x.status_code, x.problem_text"),
        of_row=_problem_row,
        slots={"": _problem},
    ),
    "prescription": Reading(
        "MedicationRequest",
        **_clinic_rows("prescriptions", "prescription_id", "x.status_code, x.sig_text, x.refills"),
        of_row=_prescription_row,
        slots={"": _prescription},
    ),
}
OF_MEDPLUM_ALONE = frozenset({"contact", "instruction", "note"})
"""Fields for which the legacy system has no place."""

_SYSTEMS = {
    f"{BASE}/{entity}{slot}": (entity, read)
    for entity, reading in READINGS.items()
    for slot, read in reading.slots.items()
}


def of_resource(resource: Mapping[str, Any]) -> tuple[Record, Facts] | None:
    """Which record a resource is of, and what it says; None where it is of none."""
    for system, value in names_of(resource):
        entity, read = _SYSTEMS[system]
        return (entity, value), read(resource)
    return None


def names_of(resource: Mapping[str, Any]) -> list[Name]:
    """The names of a resource that records give."""
    pairs = ((one.get("system", ""), one.get("value", "")) for one in resource.get("identifier", ()))
    return [pair for pair in pairs if pair[0] in _SYSTEMS]


def record_of(name: Name) -> Record:
    return _SYSTEMS[name[0]][0], name[1]


def of_legacy(
    connection: sa.Connection, clinic: str, entity: str, keys: Collection[str] | None = None
) -> dict[Record, Facts]:
    """What the legacy system says of a clinic's records of an entity, or of those with the keys, of whatever clinic."""
    reading = READINGS[entity]
    if keys is None:
        rows = connection.execute(sa.text(f"{reading.select} WHERE {reading.where}"), {"clinic": clinic})
    else:
        statement = sa.text(f"{reading.select} WHERE {reading.key} IN :keys").bindparams(
            sa.bindparam("keys", [int(key) for key in keys], expanding=True)
        )
        rows = connection.execute(statement)
    return {(entity, str(row["key"])): reading.of_row(dict(row)) for row in rows.mappings()}


def resources_of(client: httpx.Client, resource_type: str, **query: str) -> Iterator[dict[str, Any]]:
    """Every resource that a search finds, page after page."""
    url: str | None = f"fhir/R4/{resource_type}"
    parameters: Mapping[str, str] | None = {"_count": str(_PAGE), "_sort": "_lastUpdated", **query}
    while url:
        answer = client.get(url, params=parameters).raise_for_status().json()
        yield from (entry["resource"] for entry in answer.get("entry", ()))
        url, parameters = (
            next((link["url"] for link in answer.get("link", ()) if link["relation"] == "next"), None),
            None,
        )


def of_medplum(client: httpx.Client) -> dict[Record, Facts]:
    """What Medplum says of every record."""
    found: dict[Record, Facts] = {}
    for reading in READINGS.values():
        for resource in resources_of(client, reading.type):
            if read := of_resource(resource):
                found.setdefault(read[0], {}).update(read[1])
    return found
