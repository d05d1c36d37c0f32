"""Every kind of dirt of the legacy system: its disposition, reason and column, or what the resource then holds.

Each case changes a golden row in one way. Orphans are not here: references are resolved by the loader.
"""

from __future__ import annotations

import base64
from typing import Any

import pytest

from medferry.definition.migration import Migration
from medferry.fhir.validate import problems
from medferry.mapping.apply import MappedRow
from tests.clinics.golden import apply, load

GOLDEN = {
    "organization": "full",
    "clinic": "full",
    "location": "room",
    "staff": "physician",
    "assignment": "current",
    "patient": "full",
    "coverage": "full",
    "appointment": "full",
    "encounter": "full",
    "vitals": "imperial",
    "lab_result": "quantity",
    "lab_order": "full",
    "problem": "active",
    "allergy": "reaction",
    "prescription": "coded",
    "immunization": "given",
    "note": "progress",
    "document": "letter",
}
LATIN_1 = b"Mu\xf1oz".decode("utf-8", "surrogateescape")

STOPPED = [
    # entity, change of the row, disposition, reason, field
    ("staff", {"active_flag": "?"}, "quarantined", "unmapped-code", "active_flag"),
    ("staff", {"sex_code": "9"}, "quarantined", "unmapped-code", "sex_code"),
    ("location", {"status_code": "Z"}, "quarantined", "unmapped-code", "status_code"),
    ("patient", {"birth_date": "1980-02-30"}, "quarantined", "impossible-date", "birth_date"),
    ("patient", {"birth_date": "1980-13-01"}, "quarantined", "impossible-date", "birth_date"),
    ("patient", {"deceased_on": "1950-01-01"}, "quarantined", "impossible-date", "deceased_on"),
    ("patient", {"birth_date": "2031-01-01", "deceased_on": None}, "quarantined", "impossible-date", "birth_date"),
    ("patient", {"sex_code": "9"}, "quarantined", "unmapped-code", "sex_code"),
    ("patient", {"family_name": "Mu\ufffdoz"}, "quarantined", "undecodable-text", "family_name"),
    ("patient", {"family_name": "O\x92Brien"}, "quarantined", "decoded-as-latin-1", "family_name"),
    ("patient", {"family_name": LATIN_1}, "quarantined", "undecodable-text", "family_name"),
    ("patient", {"family_name": None, "given_name": "N/A"}, "quarantined", "missing-required", "family_name"),
    ("patient", {"test_flag": "Y", "family_name": "ZZTEST"}, "skipped", "test-record", ""),
    ("patient", {"test_flag": " y"}, "skipped", "test-record", ""),
    ("patient", {"merged_into": 1002}, "skipped", "merged-duplicate", ""),
    ("patient", {"merged_into": 1002, "test_flag": "Y"}, "skipped", "merged-duplicate", ""),
    ("patient", {"test_flag": "Y", "birth_date": "1980-02-30"}, "skipped", "test-record", ""),
    ("coverage", {"payer_code": "SELF"}, "skipped", "self-pay", ""),
    ("coverage", {"payer_code": "self ", "status_code": "ask billing"}, "skipped", "self-pay", ""),
    ("coverage", {"payer_code": None, "payer_name": "N/A"}, "quarantined", "missing-required", "payer_code"),
    ("coverage", {"status_code": "ask billing"}, "quarantined", "unmapped-code", "status_code"),
    ("appointment", {"status_code": "confirmed by phone"}, "quarantined", "unmapped-code", "status_code"),
    ("appointment", {"starts_at": "2024-03-10 02:30:00"}, "quarantined", "nonexistent-local-time", "starts_at"),
    ("appointment", {"starts_at": "2024-11-03 01:30:00"}, "quarantined", "ambiguous-local-time", "starts_at"),
    ("appointment", {"starts_at": "9999-12-31 00:00:00"}, "quarantined", "missing-required", "starts_at"),
    ("appointment", {"minutes": None}, "quarantined", "missing-required", "minutes"),
    ("appointment", {"time_zone": None}, "quarantined", "missing-required", "time_zone"),
    ("encounter", {"started_at": "2024-03-10 02:30:00"}, "quarantined", "nonexistent-local-time", "started_at"),
    ("encounter", {"started_at": "2024-11-03 01:30:00"}, "quarantined", "ambiguous-local-time", "started_at"),
    ("encounter", {"ended_at": "2024-01-09 09:34:59"}, "quarantined", "impossible-period", "ended_at"),
    ("encounter", {"class_code": "ZZ"}, "quarantined", "unmapped-code", "class_code"),
    ("encounter", {"class_code": ""}, "quarantined", "missing-required", "class_code"),
    ("vitals", {"weight_unit": None}, "quarantined", "ambiguous-measure", "weight_unit"),
    ("vitals", {"weight_unit": "N/A"}, "quarantined", "ambiguous-measure", "weight_unit"),
    ("vitals", {"height_unit": "lb"}, "quarantined", "ambiguous-measure", "height_unit"),
    ("vitals", {"weight_unit": "stone"}, "quarantined", "unmapped-code", "weight_unit"),
    ("vitals", {"temperature_unit": "C"}, "quarantined", "ambiguous-measure", "temperature"),
    ("vitals", {"weight": "0.60"}, "quarantined", "ambiguous-measure", "weight"),
    ("vitals", {"taken_at": "2024-11-03 01:30:00"}, "quarantined", "ambiguous-local-time", "taken_at"),
    ("lab_result", {"result_text": "HEMOLYZED"}, "quarantined", "not-a-number", "result_text"),
    ("lab_result", {"result_text": "see note"}, "quarantined", "not-a-number", "result_text"),
    ("lab_result", {"result_text": "<"}, "quarantined", "not-a-number", "result_text"),
    ("lab_result", {"result_text": "<-"}, "quarantined", "not-a-number", "result_text"),
    ("lab_result", {"result_text": "<=5"}, "quarantined", "not-a-number", "result_text"),
    ("lab_result", {"unit_text": None}, "quarantined", "ambiguous-measure", "unit_text"),
    ("lab_result", {"unit_text": "N/A"}, "quarantined", "ambiguous-measure", "unit_text"),
    ("lab_result", {"unit_text": "mmol"}, "quarantined", "unmapped-code", "unit_text"),
    ("lab_result", {"result_text": "5.4"}, "quarantined", "ambiguous-measure", "unit_text"),
    ("lab_result", {"unit_text": "mmol/L"}, "quarantined", "ambiguous-measure", "unit_text"),
    ("lab_result", {"test_code": "GLUM", "unit_text": "mmol/L"}, "quarantined", "ambiguous-measure", "unit_text"),
    ("lab_result", {"test_code": "CHOL", "result_text": "4.9"}, "quarantined", "ambiguous-measure", "unit_text"),
    ("lab_result", {"ref_low": "low"}, "quarantined", "not-a-number", "ref_low"),
    ("lab_order", {"status_code": "??"}, "quarantined", "unmapped-code", "status_code"),
    ("problem", {"onset_date": "2019-02-30"}, "quarantined", "impossible-date", "onset_date"),
    (
        "problem",
        {"onset_date": "2019-03-01", "resolved_on": "2012-01-01"},
        "quarantined",
        "impossible-date",
        "resolved_on",
    ),
    ("problem", {"problem_code": "", "problem_text": "N/A"}, "quarantined", "missing-required", "problem_code"),
    ("problem", {"status_code": "Q"}, "quarantined", "unmapped-code", "status_code"),
    ("allergy", {"severity_code": "++"}, "quarantined", "unmapped-code", "severity_code"),
    ("allergy", {"severity_code": "++", "reaction_text": None}, "quarantined", "unmapped-code", "severity_code"),
    ("allergy", {"kind_code": "?"}, "quarantined", "unmapped-code", "kind_code"),
    ("allergy", {"earlier_id": 9500}, "quarantined", "duplicate-record", ""),
    ("allergy", {"substance_code": None, "substance_text": "-"}, "quarantined", "missing-required", "substance_code"),
    ("prescription", {"drug_code": None, "drug_text": ""}, "quarantined", "missing-required", "drug_code"),
    ("prescription", {"status_code": "Q"}, "quarantined", "unmapped-code", "status_code"),
    ("immunization", {"earlier_id": 9700}, "quarantined", "duplicate-record", ""),
    ("immunization", {"given_on": "1900-01-01"}, "quarantined", "missing-required", "given_on"),
    ("immunization", {"given_on": None}, "quarantined", "missing-required", "given_on"),
    ("immunization", {"given_on": "2031-01-01"}, "quarantined", "impossible-date", "given_on"),
    ("note", {"body": None}, "quarantined", "missing-required", "body"),
    ("note", {"body": "N/A"}, "quarantined", "missing-required", "body"),
    ("note", {"body": f"se{LATIN_1}a"}, "quarantined", "undecodable-text", "body"),
    ("note", {"body": "é" * 250_001}, "quarantined", "oversized-text", "body"),
    ("note", {"written_at": "2024-03-10 02:30:00"}, "quarantined", "nonexistent-local-time", "written_at"),
    ("document", {"content": None}, "quarantined", "missing-required", "content"),
]

CONTROL, MOJIBAKE, SENTINEL = "control-characters-removed", "suspected-mojibake", "sentinel-date"
GARCIA = "GarcÃ\u00ada"

SUCCESSFUL = [
    # entity, change of the row, path in the first resource, what stands there, finding
    ("staff", {"npi": "N/A"}, "identifier.2", None, None),
    ("staff", {"staff_no": "000501   "}, "identifier.1.value", "000501", None),
    ("assignment", {"end_on": "9999-12-31"}, "active", True, (SENTINEL, "end_on")),
    ("assignment", {"end_on": "9999-12-31"}, "period.end", None, (SENTINEL, "end_on")),
    ("patient", {"family_name": "García  ", "mrn": "0001001 "}, "name.0.family", "García", None),
    ("patient", {"family_name": "NULL"}, "name.0.family", "NULL", None),
    ("patient", {"middle_name": "N/A", "suffix": "-", "email": ""}, "name.0.given", ["María"], None),
    ("patient", {"birth_date": "0001-01-01"}, "birthDate", None, (SENTINEL, "birth_date")),
    ("patient", {"birth_date": "0000-00-00"}, "birthDate", None, (SENTINEL, "birth_date")),
    ("patient", {"deceased_on": "9999-12-31"}, "deceasedDateTime", None, (SENTINEL, "deceased_on")),
    ("patient", {"sex_code": "f "}, "gender", "female", None),
    ("patient", {"given_name": "Ma\x07r\x1fía"}, "name.0.given.0", "María", (CONTROL, "given_name")),
    ("patient", {"family_name": GARCIA}, "name.0.family", GARCIA, (MOJIBAKE, "family_name")),
    ("patient", {"ssn": "000-00-0000"}, "identifier.2.value", "00042", ("placeholder-identifier", "ssn")),
    ("coverage", {"member_no": "000777  "}, "subscriberId", "000777", None),
    ("coverage", {"end_on": "9999-12-31"}, "period", {"start": "2020-01-01"}, (SENTINEL, "end_on")),
    ("appointment", {"starts_at": "2024-03-10 01:45:00"}, "end", "2024-03-10T03:05:00-04:00", None),
    ("appointment", {"starts_at": "2024-11-03 02:00:00"}, "start", "2024-11-03T02:00:00-05:00", None),
    ("appointment", {"reason_text": "N/A"}, "description", None, None),
    ("appointment", {"type_code": "call back re labs"}, "appointmentType.coding.0.code", "call back re labs", None),
    ("encounter", {"reason_text": "a\x0bb\x1f"}, "reasonCode.0.text", "ab", (CONTROL, "reason_text")),
    ("encounter", {"ended_at": "9999-12-31 00:00:00"}, "period.end", None, (SENTINEL, "ended_at")),
    ("vitals", {"weight_unit": "LBS "}, "valueQuantity.code", "[lb_av]", None),
    ("vitals", {"weight_unit": " Kg"}, "valueQuantity.code", "kg", None),
    ("lab_result", {"result_text": ">1000"}, "valueQuantity.comparator", ">", None),
    ("lab_order", {"collected_at": "1900-01-01 00:00:00"}, "effectiveDateTime", None, (SENTINEL, "collected_at")),
    ("problem", {"onset_date": "2019", "resolved_on": "2018-12-31"}, "onsetDateTime", "2019", None),
    ("problem", {"problem_code": "dm2 "}, "code.coding.0.code", "44054006", None),
    ("prescription", {"sig_text": "1\x07 tablet"}, "dosageInstruction.0.text", "1 tablet", (CONTROL, "sig_text")),
    ("immunization", {"lot_no": "N/A"}, "lotNumber", None, None),
    ("document", {"file_name": ""}, "content.0.attachment.title", None, None),
]  # fmt: skip


def _changed(migration: Migration, entity: str, change: dict[str, Any]) -> MappedRow:
    row = load(f"{entity}/{GOLDEN[entity]}")["row"]
    assert set(change) <= set(row)
    return apply(migration, entity, {**row, **change})


def _at(value: Any, path: str) -> Any:
    for step in path.split("."):
        found = dict(enumerate(value)) if isinstance(value, list) else value
        value = found.get(int(step) if step.isdigit() else step)
    return value


def test_every_entity_has_a_golden_row_to_change(migration: Migration) -> None:
    assert set(GOLDEN) == set(migration.entities)


@pytest.mark.parametrize("entity", GOLDEN)
def test_deleted_row_is_skipped_before_anything_else(migration: Migration, entity: str) -> None:
    row = load(f"{entity}/{GOLDEN[entity]}")["row"]
    unreadable = {column: "\ufffd" for column in row if column not in migration.entities[entity].key}
    mapped = apply(migration, entity, {**row, **unreadable, "deleted_at": "2024-04-01 00:00:00"})
    assert (mapped.disposition, mapped.reason, list(mapped.resources)) == ("skipped", "soft-deleted", [])


@pytest.mark.parametrize(("entity", "change", "disposition", "reason", "field"), STOPPED)
def test_dirt_that_stops_a_row(
    migration: Migration, entity: str, change: dict[str, Any], disposition: str, reason: str, field: str
) -> None:
    mapped = _changed(migration, entity, change)
    assert (mapped.disposition, mapped.reason, mapped.field) == (disposition, reason, field)
    assert not mapped.resources


@pytest.mark.parametrize(("entity", "change", "path", "value", "finding"), SUCCESSFUL)
def test_dirt_that_a_row_survives(
    migration: Migration, entity: str, change: dict[str, Any], path: str, value: Any, finding: tuple[str, str] | None
) -> None:
    mapped = _changed(migration, entity, change)
    assert mapped.disposition == "pending"
    assert _at(mapped.resources[0], path) == value
    found = {(f.reason, f.field) for f in mapped.findings if f.reason not in ("unmapped-code", "null-token")}
    assert found == ({finding} if finding else set())
    assert [problems(resource) for resource in mapped.resources] == [[]] * len(mapped.resources)


@pytest.mark.parametrize(
    ("entity", "change", "place"),
    [
        ("coverage", {"priority": 0}, "order"),
        ("prescription", {"refills": -1}, "dispenseRequest.numberOfRepeatsAllowed"),
        ("appointment", {"minutes": 0}, "minutesDuration"),
    ],
)
def test_dirt_that_validation_rejects(migration: Migration, entity: str, change: dict[str, Any], place: str) -> None:
    (resource,) = _changed(migration, entity, change).resources
    assert any(problem.startswith(place) for problem in problems(resource))


def test_vitals_without_a_measure_are_skipped(migration: Migration) -> None:
    measures = ("weight", "height", "systolic", "diastolic", "heart_rate", "temperature", "spo2")
    mapped = _changed(migration, "vitals", dict.fromkeys(measures))
    assert (mapped.disposition, mapped.reason) == ("skipped", "no-measure")


def test_one_bad_measure_stops_the_whole_row(migration: Migration) -> None:
    assert not _changed(migration, "vitals", {"temperature": "36.60"}).resources


def test_note_at_the_limit_keeps_every_byte(migration: Migration) -> None:
    body = "é" * 250_000
    (resource,) = _changed(migration, "note", {"body": body}).resources
    assert base64.b64decode(resource["content"][0]["attachment"]["data"]).decode() == body


def test_patient_data_is_in_no_outcome(migration: Migration) -> None:
    canary = "Canary\ufffd"
    mapped = _changed(migration, "patient", {"family_name": canary})
    told = (mapped.disposition, mapped.reason, mapped.field, mapped.place, mapped.findings)
    assert mapped.disposition == "quarantined"
    assert "Canary" not in repr(told)
