"""Code tables: codes that can exist, tables that agree with the legacy system's own list, nothing unused."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from fhir.resources.R4B import get_fhir_model_class

from demo_clinics.codes import TABLES
from medferry.definition.migration import Migration
from medferry.mapping.terminology import CodeRow

LOINC, SNOMED = "http://loinc.org", "http://snomed.info/sct"
PATTERNS = {
    LOINC: r"\d{1,5}-\d",
    SNOMED: r"\d{6,18}",
    "http://www.nlm.nih.gov/research/umls/rxnorm": r"\d{2,8}",
    "http://hl7.org/fhir/sid/cvx": r"\d{2,3}",
}
ELEMENTS = {
    "appointment_status": ("Appointment", "status"),
    "coverage_status": ("Coverage", "status"),
    "encounter_status": ("Encounter", "status"),
    "immunization_status": ("Immunization", "status"),
    "lab_status": ("DiagnosticReport", "status"),
    "location_status": ("Location", "status"),
    "note_status": ("DocumentReference", "docStatus"),
    "prescription_status": ("MedicationRequest", "status"),
    "result_status": ("Observation", "status"),
    "severity": ("AllergyIntoleranceReaction", "severity"),
    "allergy_kind": ("AllergyIntolerance", "category"),
    "sex": ("Patient", "gender"),
}
"""Tables whose target fills an element of type ``code``. docStatus has no list in the models."""


FURTHER_CODES = {
    "encounter_status": {"cancelled", "entered-in-error", "unknown"},
    "lab_status": {"amended", "corrected", "appended", "cancelled", "entered-in-error", "unknown"},
    "result_status": {"corrected", "cancelled", "entered-in-error", "unknown"},
}
"""What R4 names beyond the models' short lists, which end in "+"."""


def approved(migration: Migration) -> Iterator[tuple[str, CodeRow]]:
    for name, table in migration.tables.items():
        for row in table.rows.values():
            if row.status == "approved":
                yield name, row


def loinc_digit(code: str) -> int:
    """LOINC's check digit: mod 10 over the number, every other digit doubled from the right."""
    digits = [int(d) for d in reversed(code.partition("-")[0])]
    total = sum(sum(divmod(d * 2, 10)) if place % 2 == 0 else d for place, d in enumerate(digits))
    return -total % 10


def verhoeff_holds(code: str) -> bool:
    """SNOMED CT's check: Verhoeff's scheme over the dihedral group of ten."""
    permutation = [[*range(10)], [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]]
    for _ in range(6):
        permutation.append([permutation[1][d] for d in permutation[-1]])

    def product(a: int, b: int) -> int:
        if a < 5:
            return (a + b) % 5 if b < 5 else 5 + (a + b) % 5
        return 5 + (a - b) % 5 if b < 5 else (a - b) % 5

    check = 0
    for place, digit in enumerate(reversed(code)):
        check = product(check, permutation[place % 8][int(digit)])
    return check == 0


def test_the_checks_find_a_mistyped_code() -> None:
    assert loinc_digit("8867-4") == 4
    assert loinc_digit("8876-4") != 4
    assert verhoeff_holds("44054006")
    assert not verhoeff_holds("44045006")


def test_standard_codes_can_exist(migration: Migration) -> None:
    for name, row in approved(migration):
        where = f"{name}: {row.local_code}"
        assert row.system.startswith(("http://", "urn:")), where
        assert re.fullmatch(PATTERNS.get(row.system, r"\S+"), row.code), where
        if row.system == LOINC:
            assert row.code.endswith(f"-{loinc_digit(row.code)}"), where
        if row.system == SNOMED:
            assert verhoeff_holds(row.code), where
        assert row.display or name in ELEMENTS, where


def test_rows_that_are_not_approved_name_no_standard_code(migration: Migration) -> None:
    rows = [row for table in migration.tables.values() for row in table.rows.values() if row.status != "approved"]
    assert rows
    assert not [row for row in rows if row.system or row.code or row.display]


@pytest.mark.parametrize("name", sorted(set(ELEMENTS) - {"note_status"}))
def test_code_elements_take_every_target(migration: Migration, name: str) -> None:
    resource_type, element = ELEMENTS[name]
    listed = get_fhir_model_class(resource_type).model_fields[element].json_schema_extra["enum_values"]
    assert ("+" in listed) == (name in FURTHER_CODES)
    targets = {row.code for row in migration.tables[name].rows.values()}
    assert targets <= {*listed, *FURTHER_CODES.get(name, ())}


def test_tables_agree_with_the_legacy_systems_list(migration: Migration) -> None:
    # Payers are identifiers, not codes. "Entered in error" has a target of its own for problems and allergies.
    assert set(migration.tables) == set(TABLES) - {"payer"}
    for name, table in migration.tables.items():
        assert {row.local_code for row in table.rows.values()} == set(TABLES[name])
        for row in table.rows.values():
            listed = TABLES[name][row.local_code]
            if name in {"problem_status", "allergy_status"} and row.local_code == "E":
                assert row.code == "entered-in-error"
            else:
                assert (row.code or None) == listed.code, (name, row.local_code)
                assert listed.system in {row.system or None, "(a FHIR code)"}, (name, row.local_code)


def test_every_table_is_used_by_a_mapping(migration: Migration) -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (migration.folder / "mappings").glob("*.py"))
    assert not [name for name in migration.tables if f'"{name}"' not in source]
