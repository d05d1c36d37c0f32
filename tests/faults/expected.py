"""What a load of the tiny platform must lead to, read off its legacy rows without any of the loader's code."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

Name = tuple[str, str, str]
"""(resource type, identifier system, identifier value)."""

Unit = tuple[str, str]
"""(entity, source key as text)."""

INDEXED_BYTES = 2_704
"""The most bytes that PostgreSQL's index, and so Medplum, takes for a family name."""

GENDERS = {"F": "female", "M": "male"}
ZONE = ZoneInfo("America/New_York")


@dataclass
class Expected:
    """References inside `resources` are written ``Type?system|value``."""

    base: str
    migration: str
    resources: dict[Name, dict[str, Any]] = field(default_factory=dict)
    dispositions: dict[Unit, tuple[str, str]] = field(default_factory=dict)

    def decide(self, entity: str, key: object, disposition: str, reason: str = "") -> None:
        assert (entity, str(key)) not in self.dispositions
        self.dispositions[entity, str(key)] = (disposition, reason)

    def put(self, resource_type: str, path: str, key: object, **elements: Any) -> None:
        system = f"{self.base}/{path}"
        tag = {"system": "urn:medferry:migration", "code": self.migration}
        self.resources[resource_type, system, str(key)] = {
            "resourceType": resource_type,
            "meta": {"source": system, "tag": [tag]},
            "identifier": [{"system": system, "value": str(key)}],
            **{name: value for name, value in elements.items() if value is not None},
        }

    def successful(self, entity: str, key: object) -> bool:
        return self.dispositions.get((entity, str(key)), ("",))[0] == "successful"

    def pointer(self, resource_type: str, path: str, key: object) -> dict[str, str]:
        return {"reference": f"{resource_type}?{self.base}/{path}|{key}", "type": resource_type}


def expected(source: Path, base: str, migration: str) -> Expected:
    """Read the four tables of the tiny platform at `source` (SQLite)."""
    want = Expected(base, migration)
    with sqlite3.connect(source) as legacy:
        legacy.row_factory = sqlite3.Row
        for table, judge in (("clinic", _clinic), ("staff", _staff), ("patient", _patient), ("weight", _weight)):
            for row in legacy.execute(f"SELECT * FROM {table} ORDER BY id DESC"):  # parents have the higher keys
                judge(want, row)
    legacy.close()
    return want


def _clinic(want: Expected, row: sqlite3.Row) -> None:
    parent = want.pointer("Organization", "clinic", row["parent_id"]) if row["parent_id"] is not None else None
    want.put("Organization", "clinic", row["id"], name=row["name"], partOf=parent)
    want.decide("clinic", row["id"], "successful")


def _staff(want: Expected, row: sqlite3.Row) -> None:
    want.put("Practitioner", "staff", row["id"], name=[{"family": row["family"]}])
    want.put(
        "PractitionerRole",
        "staff/role",
        row["id"],
        practitioner=want.pointer("Practitioner", "staff", row["id"]),
        organization=want.pointer("Organization", "clinic", row["clinic_id"]),
    )
    want.decide("staff", row["id"], "successful")


def _patient(want: Expected, row: sqlite3.Row) -> None:
    disposition, reason = _patient_end(want, row)
    want.decide("patient", row["id"], disposition, reason)
    if disposition == "successful":
        want.put(
            "Patient",
            "patient",
            row["id"],
            name=[{"family": row["family"]}],
            birthDate=None if row["born"] == "1900-01-01" else row["born"],
            gender=GENDERS[row["sex"]],
            managingOrganization=want.pointer("Organization", "clinic", row["clinic_id"]),
        )


def _patient_end(want: Expected, row: sqlite3.Row) -> tuple[str, str]:
    if row["deleted_at"]:
        return "skipped", "soft-deleted"
    if not _is_day(row["born"]):
        return "quarantined", "impossible-date"
    if row["sex"] not in GENDERS:
        return "quarantined", "unmapped-code"
    if not want.successful("clinic", row["clinic_id"]):
        return "quarantined", "unresolved-reference"
    if len(row["family"].encode()) > INDEXED_BYTES:
        return "rejected", "server-rejected"
    return "successful", ""


def _is_day(text: str) -> bool:
    try:
        return bool(date.fromisoformat(text))
    except ValueError:
        return False


def _weight(want: Expected, row: sqlite3.Row) -> None:
    if not want.successful("patient", row["patient_id"]):
        return want.decide("weight", row["id"], "quarantined", "unresolved-reference")
    taken = datetime.fromisoformat(row["taken_at"]).replace(tzinfo=ZONE)
    want.put(
        "Observation",
        "weight",
        row["id"],
        status="final",
        code={"coding": [{"system": "http://loinc.org", "code": "29463-7", "display": "Body weight"}]},
        subject=want.pointer("Patient", "patient", row["patient_id"]),
        effectiveDateTime=taken.isoformat(),
        valueQuantity={"value": float(row["kg"]), "unit": "kg", "system": "http://unitsofmeasure.org", "code": "kg"},
    )
    return want.decide("weight", row["id"], "successful")
