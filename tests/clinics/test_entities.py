"""What the entities' SQL decides: units, folded tables, duplicates, the results of an order."""

from __future__ import annotations

import json
from datetime import date, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from demo_clinics.schema import METADATA
from medferry.definition.migration import Migration
from medferry.source.lookup import row_of_key

NOW = datetime(2024, 5, 2, 13, 0)  # noqa: DTZ001 - the legacy system's own times have no zone


def insert(connection: sa.Connection, table: str, **row: Any) -> None:
    """Add a row; required columns that do not matter get any value."""
    columns = METADATA.tables[table].columns
    missing = {c.name: NOW if isinstance(c.type, sa.DateTime) else "x" for c in columns if not c.nullable}
    connection.execute(METADATA.tables[table].insert(), [{**missing, "updated_at": NOW, "deleted_at": None, **row}])


def selected(migration: Migration, connection: sa.Connection, entity: str, key: int) -> dict[str, Any]:
    row = row_of_key(connection, migration.entities[entity], str(key))
    assert row is not None
    return row


@pytest.mark.parametrize(
    ("registrations", "unit"),
    [
        ([], "harbor"),
        ([("harbor", None)], "harbor"),
        ([("harbor", None), ("harbor", None)], "harbor"),
        ([("harbor", None), ("prairie", None)], "shared"),
        ([("harbor", None), ("prairie", NOW)], "harbor"),
        ([("prairie", None)], "harbor"),
    ],
)
def test_patient_is_shared_by_registrations_at_several_clinics(
    migration: Migration, empty_legacy: sa.Connection, registrations: list[tuple[str, datetime | None]], unit: str
) -> None:
    insert(empty_legacy, "patients", patient_id=1, home_clinic_id="harbor")
    for number, (clinic, deleted) in enumerate(registrations):
        insert(
            empty_legacy,
            "clinic_registrations",
            registration_id=number,
            patient_id=1,
            clinic_id=clinic,
            deleted_at=deleted,
        )
    assert selected(migration, empty_legacy, "patient", 1)["unit_id"] == unit


@pytest.mark.parametrize(
    ("assignments", "unit"),
    [
        ([], "shared"),
        ([("harbor", NOW)], "shared"),
        ([("harbor", None), ("harbor", None)], "harbor"),
        ([("harbor", None), ("prairie", NOW)], "harbor"),
        ([("harbor", None), ("prairie", None)], "shared"),
    ],
)
def test_staff_belongs_to_its_only_clinic(
    migration: Migration, empty_legacy: sa.Connection, assignments: list[tuple[str, datetime | None]], unit: str
) -> None:
    insert(empty_legacy, "staff", staff_id=1)
    for number, (clinic, deleted) in enumerate(assignments):
        insert(empty_legacy, "staff_clinics", assignment_id=number, staff_id=1, clinic_id=clinic, deleted_at=deleted)
    assert selected(migration, empty_legacy, "staff", 1)["unit_id"] == unit


def test_patient_takes_the_rows_that_count(migration: Migration, empty_legacy: sa.Connection) -> None:
    insert(empty_legacy, "patients", patient_id=1, home_clinic_id="harbor")
    for number, (primary, line, deleted) in enumerate([("N", "old", None), ("Y", "here", None), ("Y", "gone", NOW)]):
        insert(
            empty_legacy,
            "patient_addresses",
            address_id=number,
            patient_id=1,
            is_primary=primary,
            line1=line,
            deleted_at=deleted,
        )
    for number, (kind, deleted) in enumerate([("M", None), ("H", NOW)]):
        insert(
            empty_legacy,
            "patient_phones",
            phone_id=number,
            patient_id=1,
            kind_code=kind,
            number=f"{kind}-1",
            deleted_at=deleted,
        )
    insert(empty_legacy, "patient_identifiers", identifier_id=1, patient_id=1, type_code="MCD", value="0042")
    insert(empty_legacy, "patient_identifiers", identifier_id=2, patient_id=2, type_code="SSN", value="of another")
    row = selected(migration, empty_legacy, "patient", 1)
    folded = ("address_line1", "home_phone", "mobile_phone", "work_phone", "ssn", "medicaid_number")
    assert [row[column] for column in folded] == ["here", None, "M-1", None, None, "0042"]


def test_order_names_its_results_that_are_not_deleted(migration: Migration, empty_legacy: sa.Connection) -> None:
    for order in (1, 2):
        insert(empty_legacy, "lab_orders", order_id=order, patient_id=1, clinic_id="harbor")
    for result, order, deleted in ((10, 1, None), (11, 1, NOW), (12, 1, None), (13, 3, None)):
        insert(empty_legacy, "lab_results", result_id=result, order_id=order, patient_id=1, deleted_at=deleted)
    assert sorted(json.loads(selected(migration, empty_legacy, "lab_order", 1)["result_ids"])) == [10, 12]
    assert json.loads(selected(migration, empty_legacy, "lab_order", 2)["result_ids"] or "[]") == []


@pytest.mark.parametrize(
    ("change", "deleted", "earlier"),
    [
        ({}, None, 1),
        ({}, NOW, None),
        ({"patient_id": 2}, None, None),
        ({"vaccine_code": "MMR"}, None, None),
        ({"given_on": date(2023, 10, 12)}, None, None),
        ({"lot_no": "other"}, None, None),
        ({"lot_no": None}, None, None),
    ],
)
def test_immunization_knows_an_earlier_one_that_says_the_same(
    migration: Migration,
    empty_legacy: sa.Connection,
    change: dict[str, Any],
    deleted: datetime | None,
    earlier: int | None,
) -> None:
    same = {"patient_id": 1, "vaccine_code": "FLU", "given_on": date(2023, 10, 11), "lot_no": "U1"}
    insert(empty_legacy, "immunizations", immunization_id=1, **same, deleted_at=deleted)
    insert(empty_legacy, "immunizations", immunization_id=2, **{**same, **change})
    assert selected(migration, empty_legacy, "immunization", 2)["earlier_id"] == earlier
    assert selected(migration, empty_legacy, "immunization", 1)["earlier_id"] is None


@pytest.mark.parametrize(
    ("change", "earlier"),
    [({}, 1), ({"reaction_text": None}, None), ({"substance_code": "ASA"}, None), ({"patient_id": 2}, None)],
)
def test_allergy_knows_an_earlier_one_that_says_the_same(
    migration: Migration, empty_legacy: sa.Connection, change: dict[str, Any], earlier: int | None
) -> None:
    same = {"patient_id": 1, "substance_code": "PCN", "recorded_at": NOW, "reaction_text": "hives"}
    insert(empty_legacy, "allergies", allergy_id=1, **same)
    insert(empty_legacy, "allergies", allergy_id=2, **{**same, **change})
    assert selected(migration, empty_legacy, "allergy", 2)["earlier_id"] == earlier


def test_row_of_a_clinic_that_is_missing_is_still_selected(migration: Migration, empty_legacy: sa.Connection) -> None:
    insert(empty_legacy, "notes", note_id=1, clinic_id="nowhere")
    assert selected(migration, empty_legacy, "note", 1)["time_zone"] is None
