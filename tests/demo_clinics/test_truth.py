"""The truth adds up, with itself and with what is stored."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from fhir.resources.R4B import get_fhir_model_class
from pydantic import ValidationError

from demo_clinics.catalogue import KINDS
from demo_clinics.schema import ENTITIES

from .conftest import LegacyReader

_REFERENCES = {
    # entity: column → entity it needs (columns that become references)
    "location": {"parent_location_id": "location"},
    "assignment": {"staff_id": "staff"},
    "patient": {"pcp_staff_id": "staff"},
    "coverage": {"patient_id": "patient"},
    "appointment": {"patient_id": "patient", "staff_id": "staff", "location_id": "location"},
    "encounter": {
        "patient_id": "patient", "staff_id": "staff", "location_id": "location", "appointment_id": "appointment",
    },
    "vitals": {"patient_id": "patient", "encounter_id": "encounter", "staff_id": "staff"},
    "lab_result": {"patient_id": "patient", "encounter_id": "encounter"},
    "lab_order": {"patient_id": "patient", "encounter_id": "encounter", "staff_id": "staff"},
    "problem": {"patient_id": "patient", "staff_id": "staff"},
    "allergy": {"patient_id": "patient", "staff_id": "staff"},
    "prescription": {"patient_id": "patient", "encounter_id": "encounter", "staff_id": "staff"},
    "immunization": {"patient_id": "patient", "encounter_id": "encounter", "staff_id": "staff"},
    "note": {"patient_id": "patient", "encounter_id": "encounter", "staff_id": "staff"},
    "document": {"patient_id": "patient", "encounter_id": "encounter"},
}  # fmt: skip


def test_every_stored_row_is_accounted_for_once(legacy: LegacyReader) -> None:
    for entity in ENTITIES:
        assert legacy.truth.eligible(entity) == len(legacy.rows(entity)), entity
    keys = [(row["entity"], row["key"]) for row in legacy.truth.rows]
    assert len(keys) == len(set(keys))
    listed = Counter((r["entity"], r["unit"], r["disposition"], r["reason"]) for r in legacy.truth.rows)
    counted = {key: n for key, n in legacy.truth.counts.items() if key[2] != "successful"}
    assert listed == counted


def test_units_follow_the_stored_rows(legacy: LegacyReader) -> None:
    registered: dict[int, set[str]] = {}
    for row in legacy.tables["clinic_registrations"]:
        if row["deleted_at"] is None:
            registered.setdefault(row["patient_id"], set()).add(row["clinic_id"])
    assigned: dict[int, set[str]] = {}
    for row in legacy.tables["staff_clinics"]:
        if row["deleted_at"] is None:
            assigned.setdefault(row["staff_id"], set()).add(row["clinic_id"])
    units: Counter[tuple[str, str]] = Counter()
    for row in legacy.rows("patient"):
        units["patient", "shared" if len(registered[row["patient_id"]]) > 1 else row["home_clinic_id"]] += 1
    for row in legacy.rows("staff"):
        clinics = assigned.get(row["staff_id"], set())
        units["staff", next(iter(clinics)) if len(clinics) == 1 else "shared"] += 1
    for entity in ENTITIES.keys() - {"patient", "staff"}:
        shared = entity in ("organization", "clinic")
        units.update((entity, "shared" if shared else row["clinic_id"]) for row in legacy.rows(entity))
    told: Counter[tuple[str, str]] = Counter()
    for (entity, unit, _, _), number in legacy.truth.counts.items():
        told[entity, unit] += number
    assert told == units
    assert told["patient", "shared"] > 3


def test_a_row_is_unresolved_exactly_when_a_row_it_needs_is_not_successful(legacy: LegacyReader) -> None:
    """Works the cascade out again from the stored keys."""
    for entity, columns in _REFERENCES.items():
        for key, row in legacy.by_key[entity].items():
            told = legacy.failed.get((entity, key))
            if told and told["reason"] != "unresolved-reference":
                continue
            assert (told is not None) == _lacks(legacy, entity, key, row, columns), (entity, key)


def _lacks(legacy: LegacyReader, entity: str, key: str, row: dict[str, Any], columns: dict[str, str]) -> bool:
    needed = [(other, str(row[column])) for column, other in columns.items() if row[column] is not None]
    if entity == "lab_order":
        results = legacy.rows("lab_result")
        needed += [
            ("lab_result", str(r["result_id"])) for r in results if str(r["order_id"]) == key and not r["deleted_at"]
        ]
    return any(pair in legacy.failed or pair[1] not in legacy.by_key[pair[0]] for pair in needed)


def test_every_kind_is_dealt_about_as_often_as_its_neighbours(legacy: LegacyReader) -> None:
    for entity in {kind.entity for kind in KINDS}:
        names = [k.name for k in KINDS if k.entity == entity]
        amounts = {
            name: legacy.truth.dirt[entity, name] for name in names if (entity, name) != ("note", "oversized-text")
        }
        assert min(amounts.values()) >= 1, amounts
        # A kind may wait for a row that suits it.
        assert max(amounts.values()) - min(amounts.values()) <= 2, amounts
    assert legacy.truth.dirt["note", "oversized-text"] == 5


def test_dispositions_and_findings_are_those_of_the_catalogue(legacy: LegacyReader) -> None:
    kinds = {(k.entity, k.name): k for k in KINDS}
    for row in legacy.truth.rows:
        if row["kind"] == "cascade":
            assert (row["disposition"], row["reason"]) == ("quarantined", "unresolved-reference")
        else:
            kind = kinds[str(row["entity"]), str(row["kind"])]
            assert (row["disposition"], row["reason"]) == (kind.disposition, kind.reason)
    for found in legacy.truth.findings:
        kind = kinds[str(found["entity"]), str(found["kind"])]
        assert (kind.disposition, kind.reason, kind.field) == ("successful", found["reason"], found["field"])


def test_the_file_says_the_same_as_the_object(legacy: LegacyReader) -> None:
    stored = json.loads(legacy.truth_path.read_text(encoding="utf-8"))
    assert stored["rows"] == legacy.truth.rows
    assert sum(stored["resources"].values()) == len(legacy.expected)
    leaves = [n for units in stored["counts"].values() for unit in units.values() for n in _leaves(unit)]
    assert sum(leaves) == legacy.truth.eligible()


def _leaves(tree: dict[str, Any]) -> list[int]:
    return [n for value in tree.values() for n in (_leaves(value) if isinstance(value, dict) else [value])]


def test_expected_resources_are_one_set_per_successful_row_and_valid_fhir(legacy: LegacyReader) -> None:
    successful = legacy.truth.eligible() - len(legacy.truth.rows)
    assert len({(line["entity"], line["key"]) for line in legacy.expected}) == successful
    identifiers = [tuple(line["resource"]["identifier"][0].values()) for line in legacy.expected]
    assert len(identifiers) == len(set(identifiers))
    for line in legacy.expected:
        model = get_fhir_model_class(line["resource"]["resourceType"])
        model.model_validate(line["resource"])


@pytest.mark.parametrize(
    ("entity", "change"),
    [("prescription", {"dispenseRequest": {"numberOfRepeatsAllowed": -1}}), ("coverage", {"order": 0})],
)
def test_rows_to_be_rejected_by_validation_are_invalid_fhir(
    legacy: LegacyReader, entity: str, change: dict[str, Any]
) -> None:
    resource = next(line["resource"] for line in legacy.expected if line["entity"] == entity)
    with pytest.raises(ValidationError):
        get_fhir_model_class(resource["resourceType"]).model_validate(resource | change)


def test_references_of_expected_resources_point_at_expected_resources(legacy: LegacyReader) -> None:
    there = {
        f"{line['resource']['resourceType']}?identifier={i['system']}|{i['value']}"
        for line in legacy.expected
        for i in line["resource"]["identifier"][:1]
    }
    used = {reference for line in legacy.expected for reference in _references(line["resource"])}
    assert used
    assert used <= there


def _references(item: Any) -> list[str]:
    if isinstance(item, dict):
        own = [item["reference"]] if "reference" in item else []
        return own + [r for value in item.values() for r in _references(value)]
    return [r for value in item for r in _references(value)] if isinstance(item, list) else []


def test_orphans_of_folded_tables_are_listed_outside(legacy: LegacyReader) -> None:
    patients = {row["patient_id"] for row in legacy.rows("patient")}
    keys = {"patient_addresses": "address_id", "patient_phones": "phone_id", "patient_identifiers": "identifier_id"}
    for table, key in keys.items():
        orphans = [row[key] for row in legacy.tables[table] if row["patient_id"] not in patients]
        assert orphans
        assert orphans == legacy.truth.outside[table]
