"""The building stones of expected resources: FHIR data types from the values of the clean model."""

from datetime import date
from typing import Any

from demo_clinics.codes import IDENTIFIER_BASE, SYSTEMS, TABLES
from demo_clinics.record import Record, instant

RESOURCE_TYPES = {
    "organization": "Organization", "clinic": "Organization", "location": "Location", "staff": "Practitioner",
    "assignment": "PractitionerRole", "patient": "Patient", "coverage": "Coverage", "appointment": "Appointment",
    "encounter": "Encounter", "vitals": "Observation", "lab_result": "Observation", "lab_order": "DiagnosticReport",
    "problem": "Condition", "allergy": "AllergyIntolerance", "prescription": "MedicationRequest",
    "immunization": "Immunization", "note": "DocumentReference", "document": "DocumentReference",
}  # fmt: skip


def plain_text(value: Any) -> str | None:
    """Text as the resource holds it: the clean model has only plain values and null tokens."""
    text = (value or "").strip()
    return None if text in ("", "N/A", "-") else text


def some(**elements: Any) -> dict[str, Any]:
    return {name: value for name, value in elements.items() if value not in (None, [], {})}


def some_list(value: Any) -> list[Any]:
    return [value] if value else []


def identifier(system: str, value: str) -> dict[str, str]:
    return {"system": system, "value": value}


def identifiers(*pairs: tuple[str, Any]) -> list[dict[str, str]]:
    return [identifier(system, text) for system, value in pairs if (text := plain_text(value))]


def reference(target: Record | None) -> dict[str, str] | None:
    if target is None:
        return None
    system = f"{IDENTIFIER_BASE}/{target.entity}"
    return {"reference": f"{RESOURCE_TYPES[target.entity]}?identifier={system}|{target.key}"}


def coding(system: str, code: str) -> dict[str, str]:
    return {"system": system, "code": code}


def concept(table: str, local: str | None, text: str | None = None) -> dict[str, Any] | None:
    """The agreed target, the local code as typed, and the text if the entity has one."""
    if local is None:
        return some(text=plain_text(text)) or None
    known = TABLES[table].get(local) or TABLES[table].get(local.upper())
    target = [coding(known.system, known.code)] if known and known.system and known.code else []
    local_coding = coding(f"{IDENTIFIER_BASE}/CodeSystem/{table}", local)
    return some(coding=[*target, local_coding], text=plain_text(text))


def target(table: str, local: str) -> dict[str, str]:
    known = TABLES[table][local]
    assert known.system and known.code
    return coding(known.system, known.code)


def target_code(table: str, local: str | None) -> str | None:
    return None if local is None else target(table, local)["code"]


def standard(system: str, code: str) -> dict[str, Any]:
    return {"coding": [coding(system, code)]}


def local_instant(record: Record, column: str) -> str | None:
    local = record.clean.get(column)
    return instant(local, record.zone) if local else None


def day(value: date | str | None) -> str | None:
    return value.isoformat() if isinstance(value, date) else value


def number(value: float | str) -> int | float:
    number = float(value)
    return int(number) if number.is_integer() else number


def quantity(value: float | str, unit: str, code: str) -> dict[str, Any]:
    return {"value": number(value), "unit": unit, "system": SYSTEMS["ucum"], "code": code}


def address(row: dict[str, Any], *lines: str, **extra: str) -> dict[str, Any]:
    return {
        **extra,
        "line": [text for line in lines if (text := plain_text(row[line]))],
        "city": row["city"],
        "state": row["state"],
        "postalCode": row["postal_code"],
        "country": "US",
    }


def telecom(system: str, value: str | None, **extra: str) -> list[dict[str, str]]:
    text = plain_text(value)
    return [{"system": system, "value": text, **extra}] if text else []
