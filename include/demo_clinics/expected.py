"""What a successful row's resources must hold, worked out from the clean model. One function an entity; rules: README.md.

Each yields (slot, resource): the elements the truth states, complete, in FHIR JSON. `meta` and narrative are not stated.
References are conditional (`Patient?identifier=<system>|<key>`): whoever compares resolves the server's ids first.
"""

import base64
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

from demo_clinics.clinical import QUALITATIVE
from demo_clinics.codes import IDENTIFIER_BASE, SYSTEMS, TABLES
from demo_clinics.record import Record, instant

Resource = dict[str, Any]
Expected = tuple[str, Resource]

MAIN = "main"
NPI = "http://hl7.org/fhir/sid/us-npi"
SSN = "http://hl7.org/fhir/sid/us-ssn"
_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"

RESOURCE_TYPES = {
    "organization": "Organization", "clinic": "Organization", "location": "Location", "staff": "Practitioner",
    "assignment": "PractitionerRole", "patient": "Patient", "coverage": "Coverage", "appointment": "Appointment",
    "encounter": "Encounter", "vitals": "Observation", "lab_result": "Observation", "lab_order": "DiagnosticReport",
    "problem": "Condition", "allergy": "AllergyIntolerance", "prescription": "MedicationRequest",
    "immunization": "Immunization", "note": "DocumentReference", "document": "DocumentReference",
}  # fmt: skip

STATED = {
    "organization": "active name telecom address partOf",
    "clinic": "active name telecom address partOf",
    "location": "status name physicalType managingOrganization partOf",
    "staff": "active name gender telecom qualification",
    "assignment": "active practitioner organization code specialty period",
    "patient": "active name gender birthDate deceasedDateTime maritalStatus communication telecom address "
    "managingOrganization generalPractitioner",
    "coverage": "status beneficiary subscriberId relationship order period payor class",
    "appointment": "status appointmentType start end minutesDuration description participant",
    "encounter": "status class subject participant location appointment serviceProvider period reasonCode",
    "vitals": "status category code subject encounter performer effectiveDateTime valueQuantity component",
    "lab_result": "status category code subject encounter effectiveDateTime valueQuantity valueString interpretation referenceRange",
    "lab_order": "status category code subject encounter performer effectiveDateTime issued result",
    "problem": "clinicalStatus verificationStatus category code subject recorder onsetDateTime abatementDateTime recordedDate",
    "allergy": "clinicalStatus verificationStatus code category patient recorder onsetDateTime recordedDate reaction",
    "prescription": "status intent medicationCodeableConcept subject encounter requester authoredOn dosageInstruction "
    "dispenseRequest",
    "immunization": "status vaccineCode patient encounter occurrenceDateTime lotNumber site performer",
    "note": "status docStatus type subject date author context content",
    "document": "status docStatus type subject date author context content",
}
"""Per entity the elements the truth states: one of these that an expected resource lacks must not be in Medplum either."""


def expected(record: Record) -> Iterator[tuple[str, Resource, list[str]]]:
    """(slot, expected resource, elements that must be absent) of a successful record's resources."""
    stated = STATED[record.entity].split()
    for slot, elements in _BUILD[record.entity](record):
        system = f"{IDENTIFIER_BASE}/{record.entity}" + ("" if slot == MAIN else f"/{slot}")
        identifiers = [_identifier(system, str(record.key)), *elements.pop("identifier", [])]
        held = {name: value for name, value in elements.items() if value not in (None, [], {})}
        resource = {"resourceType": RESOURCE_TYPES[record.entity], "identifier": identifiers, **held}
        yield slot, resource, [name for name in stated if name not in held]


# -- building stones -------------------------------------------------------------------------------


def _text(value: Any) -> str | None:
    """Text as the resource holds it: the clean model has only plain values and null tokens."""
    text = (value or "").strip()
    return None if text in ("", "N/A", "-") else text


def _some(**elements: Any) -> dict[str, Any]:
    return {name: value for name, value in elements.items() if value not in (None, [], {})}


def _list(value: Any) -> list[Any]:
    return [value] if value else []


def _identifier(system: str, value: str) -> dict[str, str]:
    return {"system": system, "value": value}


def _identifiers(*pairs: tuple[str, Any]) -> list[dict[str, str]]:
    return [_identifier(system, text) for system, value in pairs if (text := _text(value))]


def _reference(target: Record | None) -> dict[str, str] | None:
    if target is None:
        return None
    system = f"{IDENTIFIER_BASE}/{target.entity}"
    return {"reference": f"{RESOURCE_TYPES[target.entity]}?identifier={system}|{target.key}"}


def _coding(system: str, code: str) -> dict[str, str]:
    return {"system": system, "code": code}


def _concept(table: str, local: str | None, text: str | None = None) -> dict[str, Any] | None:
    """The agreed target, the local code as typed, and the text if the entity has one."""
    if local is None:
        return _some(text=_text(text)) or None
    known = TABLES[table].get(local) or TABLES[table].get(local.upper())
    target = [_coding(known.system, known.code)] if known and known.system and known.code else []
    local_coding = _coding(f"{IDENTIFIER_BASE}/CodeSystem/{table}", local)
    return _some(coding=[*target, local_coding], text=_text(text))


def _target(table: str, local: str) -> dict[str, str]:
    known = TABLES[table][local]
    assert known.system and known.code
    return _coding(known.system, known.code)


def _code(table: str, local: str | None) -> str | None:
    return None if local is None else _target(table, local)["code"]


def _standard(system: str, code: str) -> dict[str, Any]:
    return {"coding": [_coding(system, code)]}


def _instant(record: Record, column: str) -> str | None:
    local = record.clean.get(column)
    return instant(local, record.zone) if local else None


def _day(value: date | str | None) -> str | None:
    return value.isoformat() if isinstance(value, date) else value


def _number(value: float | str) -> int | float:
    number = float(value)
    return int(number) if number.is_integer() else number


def _quantity(value: float | str, unit: str, code: str) -> dict[str, Any]:
    return {"value": _number(value), "unit": unit, "system": SYSTEMS["ucum"], "code": code}


def _address(row: dict[str, Any], *lines: str, **extra: str) -> dict[str, Any]:
    return {
        **extra, "line": [text for line in lines if (text := _text(row[line]))], "city": row["city"], "state": row["state"],
        "postalCode": row["postal_code"], "country": "US",
    }  # fmt: skip


def _telecom(system: str, value: str | None, **extra: str) -> list[dict[str, str]]:
    text = _text(value)
    return [{"system": system, "value": text, **extra}] if text else []


# -- the group -------------------------------------------------------------------------------------


def _organization(r: Record) -> Iterator[Expected]:
    c = r.clean
    yield MAIN, {
        "identifier": _identifiers((NPI, c["npi"])), "active": True, "name": c["name"], "telecom": _telecom("phone", c["phone"]),
        "address": [_address(c, "address_line")], "partOf": _reference(r.references.get("org_id")),
    }  # fmt: skip


def _location(r: Record) -> Iterator[Expected]:
    yield MAIN, {
        "status": _code("location_status", r.clean["status_code"]), "name": r.clean["name"],
        "physicalType": _concept("location_kind", r.clean["kind_code"]),
        "managingOrganization": _reference(r.references["clinic_id"]),
        "partOf": _reference(r.references.get("parent_location_id")),
    }  # fmt: skip


def _staff(r: Record) -> Iterator[Expected]:
    c = r.clean
    yield MAIN, {
        "identifier": _identifiers((f"{IDENTIFIER_BASE}/staff-number", c["staff_no"]), (NPI, c["npi"])),
        "active": c["active_flag"] == "Y", "name": [{"family": c["family_name"], "given": [c["given_name"]]}],
        "gender": _code("sex", c["sex_code"]), "telecom": _telecom("phone", c["phone"]) + _telecom("email", c["email"]),
        "qualification": [{"code": _concept("staff_credential", c["credential_code"])}],
    }  # fmt: skip


def _assignment(r: Record) -> Iterator[Expected]:
    c = r.clean
    yield MAIN, {
        "active": c["end_on"] is None, "practitioner": _reference(r.references["staff_id"]),
        "organization": _reference(r.references["clinic_id"]), "code": _list(_concept("staff_role", c["role_code"])),
        "specialty": _list(_concept("specialty", c["specialty_code"])),
        "period": _some(start=_day(c["start_on"]), end=_day(c["end_on"])),
    }  # fmt: skip


# -- the patient -----------------------------------------------------------------------------------

_PHONE_USES = {"H": "home", "M": "mobile", "W": "work"}


def _patient(r: Record) -> Iterator[Expected]:
    c = r.clean
    given = [name for column in ("given_name", "middle_name") if (name := _text(c[column]))]
    phones = [p for kind, use in _PHONE_USES.items() for p in _telecom("phone", c["phones"].get(kind), use=use)]
    language = _concept("language", c["language_code"])
    yield MAIN, {
        "identifier": _identifiers((f"{IDENTIFIER_BASE}/mrn", c["mrn"]), (SSN, c["ssn"]),
                                   (f"{IDENTIFIER_BASE}/medicaid-number", c["medicaid"])),
        "active": True,
        "name": [_some(use="official", family=c["family_name"], given=given, suffix=_list(_text(c["suffix"])))],
        "gender": _code("sex", c["sex_code"]), "birthDate": c["birth_date"], "deceasedDateTime": _day(c["deceased_on"]),
        "maritalStatus": _concept("marital_status", c["marital_code"]), "communication": [{"language": language}],
        "telecom": phones + _telecom("email", c["email"]),
        "address": _list(_address(c["address"], "line1", "line2", use="home") if c["address"] else None),
        "managingOrganization": _reference(r.references["home_clinic_id"]),
        "generalPractitioner": _list(_reference(r.references.get("pcp_staff_id"))),
    }  # fmt: skip


def _coverage(r: Record) -> Iterator[Expected]:
    c = r.clean
    group = {"type": _standard("http://terminology.hl7.org/CodeSystem/coverage-class", "group"), "value": c["group_no"]}
    yield MAIN, {
        "status": _code("coverage_status", c["status_code"]), "beneficiary": _reference(r.references["patient_id"]),
        "subscriberId": c["member_no"], "relationship": _concept("relationship", c["relationship_code"]),
        "order": c["priority"], "period": _some(start=_day(c["start_on"]), end=_day(c["end_on"])),
        "payor": [{"identifier": _identifier(f"{IDENTIFIER_BASE}/payer", c["payer_code"]), "display": c["payer_name"]}],
        "class": [group] if c["group_no"] else None,
    }  # fmt: skip


# -- visits ----------------------------------------------------------------------------------------

_PARTICIPATION = {"P": "needs-action", "C": "declined"}


def _appointment(r: Record) -> Iterator[Expected]:
    c = r.clean
    status = _PARTICIPATION.get(c["status_code"], "accepted")
    start = c["starts_at"].replace(tzinfo=r.zone)
    end = (start.astimezone(UTC) + timedelta(minutes=c["minutes"])).astimezone(r.zone)
    actors = (r.references.get(column) for column in ("patient_id", "staff_id", "location_id"))
    yield MAIN, {
        "status": _code("appointment_status", c["status_code"]),
        "appointmentType": _concept("appointment_type", c["type_code"]), "start": _instant(r, "starts_at"),
        "end": end.isoformat(timespec="seconds"), "minutesDuration": c["minutes"], "description": _text(c["reason_text"]),
        "participant": [{"actor": _reference(actor), "status": status} for actor in actors if actor],
    }  # fmt: skip


def _encounter(r: Record) -> Iterator[Expected]:
    c = r.clean
    yield MAIN, {
        "status": _code("encounter_status", c["status_code"]), "class": _target("encounter_class", c["class_code"]),
        "subject": _reference(r.references["patient_id"]), "participant": [{"individual": _reference(r.references["staff_id"])}],
        "location": [{"location": _reference(r.references["location_id"])}],
        "appointment": _list(_reference(r.references.get("appointment_id"))),
        "serviceProvider": _reference(r.references["clinic_id"]),
        "period": _some(start=_instant(r, "started_at"), end=_instant(r, "ended_at")),
        "reasonCode": [{"text": c["reason_text"]}],
    }  # fmt: skip


_PLAIN_VITALS = {"heart_rate": "/min", "spo2": "%"}


def _vitals(r: Record) -> Iterator[Expected]:
    c = r.clean
    shared = {
        "status": "final", "category": [_standard(_CATEGORY, "vital-signs")], "subject": _reference(r.references["patient_id"]),
        "encounter": _reference(r.references["encounter_id"]), "performer": [_reference(r.references["staff_id"])],
        "effectiveDateTime": _instant(r, "taken_at"),
    }  # fmt: skip
    for slot in ("weight", "height", "temperature"):
        if c[slot] is not None:
            unit = TABLES["vital_unit"][c[f"{slot}_unit"]]
            quantity = _quantity(c[slot], str(unit.display), str(unit.code))
            yield slot, {**shared, "code": _concept("vital", slot), "valueQuantity": quantity}
    for slot, code in _PLAIN_VITALS.items():
        if c[slot] is not None:
            yield slot, {**shared, "code": _concept("vital", slot), "valueQuantity": _quantity(c[slot], code, code)}
    if c["systolic"] is not None:
        parts = [{"code": _concept("vital", part), "valueQuantity": _quantity(c[part], "mmHg", "mm[Hg]")}
                 for part in ("systolic", "diastolic")]  # fmt: skip
        yield "blood_pressure", {**shared, "code": _concept("vital", "blood_pressure"), "component": parts}


def _lab_value(c: dict[str, Any]) -> dict[str, Any]:
    if c["test_code"] in QUALITATIVE:
        return {"valueString": c["result_text"]}
    text, unit = c["result_text"], str(_code("lab_unit", c["unit_text"]))
    low, high = (_quantity(c[column], c["unit_text"], unit) for column in ("ref_low", "ref_high"))
    comparator = {"comparator": text[0]} if text[0] in "<>" else {}
    value = {**_quantity(text.lstrip("<>"), c["unit_text"], unit), **comparator}
    return {"valueQuantity": value, "referenceRange": [{"low": low, "high": high}]}


def _lab_result(r: Record) -> Iterator[Expected]:
    c = r.clean
    yield MAIN, {
        "status": _code("result_status", c["status_code"]), "category": [_standard(_CATEGORY, "laboratory")],
        "code": _concept("lab_test", c["test_code"]), "subject": _reference(r.references["patient_id"]),
        "encounter": _reference(r.references["encounter_id"]), "effectiveDateTime": _instant(r, "collected_at"),
        "interpretation": [_concept("abnormal_flag", c["abnormal_flag"])], **_lab_value(c),
    }  # fmt: skip


def _lab_order(r: Record) -> Iterator[Expected]:
    c = r.clean
    yield MAIN, {
        "identifier": _identifiers((f"{IDENTIFIER_BASE}/accession", c["accession_no"])),
        "status": _code("lab_status", c["status_code"]),
        "category": [_standard("http://terminology.hl7.org/CodeSystem/v2-0074", "LAB")],
        "code": _concept("lab_panel", c["panel_code"]), "subject": _reference(r.references["patient_id"]),
        "encounter": _reference(r.references["encounter_id"]), "performer": [_reference(r.references["staff_id"])],
        "effectiveDateTime": _instant(r, "collected_at"), "issued": _instant(r, "reported_at"),
        "result": [_reference(child) for child in r.waited_for()],
    }  # fmt: skip


# -- clinical state --------------------------------------------------------------------------------


def _status(table: str, local: str, verification: str) -> dict[str, Any]:
    if local == "E":
        return {
            "verificationStatus": _standard(f"http://terminology.hl7.org/CodeSystem/{verification}", "entered-in-error")
        }
    target = _target(table, local)
    return {"clinicalStatus": _standard(target["system"], target["code"])}


def _problem(r: Record) -> Iterator[Expected]:
    c = r.clean
    yield MAIN, {
        **_status("problem_status", c["status_code"], "condition-ver-status"),
        "category": [_standard("http://terminology.hl7.org/CodeSystem/condition-category", "problem-list-item")],
        "code": _concept("problem", c.get("typed_problem_code") or c["problem_code"], c["problem_text"]),
        "subject": _reference(r.references["patient_id"]), "recorder": _reference(r.references.get("staff_id")),
        "onsetDateTime": c["onset_date"], "abatementDateTime": _day(c["resolved_on"]), "recordedDate": _instant(r, "recorded_at"),
    }  # fmt: skip


def _allergy(r: Record) -> Iterator[Expected]:
    c = r.clean
    reaction = _some(manifestation=[{"text": c["reaction_text"]}], severity=_code("severity", c["severity_code"]))
    yield MAIN, {
        **_status("allergy_status", c["status_code"], "allergyintolerance-verification"),
        "code": _concept("allergy", c["substance_code"], c["substance_text"]),
        "category": _list(_code("allergy_kind", c["kind_code"])), "patient": _reference(r.references["patient_id"]),
        "recorder": _reference(r.references.get("staff_id")), "onsetDateTime": c["onset_date"],
        "recordedDate": _instant(r, "recorded_at"), "reaction": [reaction] if c["reaction_text"] else None,
    }  # fmt: skip


def _prescription(r: Record) -> Iterator[Expected]:
    c = r.clean
    yield MAIN, {
        "status": _code("prescription_status", c["status_code"]), "intent": "order",
        "medicationCodeableConcept": _concept("drug", c["drug_code"], c["drug_text"]),
        "subject": _reference(r.references["patient_id"]), "encounter": _reference(r.references["encounter_id"]),
        "requester": _reference(r.references["staff_id"]), "authoredOn": _instant(r, "written_at"),
        "dosageInstruction": [{"text": c["sig_text"]}],
        "dispenseRequest": {"quantity": {"value": _number(c["quantity"])}, "numberOfRepeatsAllowed": c["refills"]},
    }  # fmt: skip


def _immunization(r: Record) -> Iterator[Expected]:
    c = r.clean
    yield MAIN, {
        "status": _code("immunization_status", c["status_code"]), "vaccineCode": _concept("vaccine", c["vaccine_code"]),
        "patient": _reference(r.references["patient_id"]), "encounter": _reference(r.references["encounter_id"]),
        "occurrenceDateTime": _day(c["given_on"]), "lotNumber": c["lot_no"], "site": _concept("body_site", c["site_code"]),
        "performer": [{"actor": _reference(r.references["staff_id"])}],
    }  # fmt: skip


# -- papers ----------------------------------------------------------------------------------------


def _attachment(content_type: str, data: bytes, title: str | None) -> dict[str, Any]:
    encoded = base64.b64encode(data).decode()
    return {"attachment": _some(contentType=content_type, data=encoded, title=_text(title))}


def _note(r: Record) -> Iterator[Expected]:
    c = r.clean
    yield MAIN, {
        "status": "entered-in-error" if c["status_code"] == "E" else "current",
        "docStatus": _code("note_status", c["status_code"]), "type": _concept("note_kind", c["kind_code"]),
        "subject": _reference(r.references["patient_id"]), "date": _instant(r, "written_at"),
        "author": [_reference(r.references["staff_id"])], "context": {"encounter": [_reference(r.references["encounter_id"])]},
        "content": [_attachment("text/plain; charset=utf-8", c["body"].encode(), c["title"])],
    }  # fmt: skip


def _document(r: Record) -> Iterator[Expected]:
    c = r.clean
    yield MAIN, {
        "status": "current", "type": _concept("document_kind", c["kind_code"]),
        "subject": _reference(r.references["patient_id"]), "date": _instant(r, "received_at"),
        "context": {"encounter": [_reference(r.references["encounter_id"])]},
        "content": [_attachment(c["mime_type"], c["content"], c["file_name"])],
    }  # fmt: skip


_BUILD: dict[str, Callable[[Record], Iterator[Expected]]] = {
    "organization": _organization, "clinic": _organization, "location": _location, "staff": _staff,
    "assignment": _assignment, "patient": _patient, "coverage": _coverage, "appointment": _appointment,
    "encounter": _encounter, "vitals": _vitals, "lab_result": _lab_result, "lab_order": _lab_order, "problem": _problem,
    "allergy": _allergy, "prescription": _prescription, "immunization": _immunization, "note": _note, "document": _document,
}  # fmt: skip
