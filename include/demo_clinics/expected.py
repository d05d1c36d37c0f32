"""What a successful row's resources must hold, worked out from the clean model. One function an entity.

The rules are the README's. Each yields (slot, resource): the elements the truth states, complete, in FHIR JSON.
`meta` and narrative are not stated.
References are conditional (`Patient?identifier=<system>|<key>`): whoever compares resolves the server's ids first.
"""

import base64
from collections.abc import Callable, Iterator
from datetime import UTC, timedelta
from typing import Any

from demo_clinics.clinical import QUALITATIVE
from demo_clinics.codes import IDENTIFIER_BASE, TABLES
from demo_clinics.elements import (
    RESOURCE_TYPES,
    address,
    concept,
    day,
    identifier,
    identifiers,
    local_instant,
    number,
    plain_text,
    quantity,
    reference,
    some,
    some_list,
    standard,
    target,
    target_code,
    telecom,
)
from demo_clinics.record import Record

Resource = dict[str, Any]
Expected = tuple[str, Resource]

MAIN = "main"
NPI = "http://hl7.org/fhir/sid/us-npi"
SSN = "http://hl7.org/fhir/sid/us-ssn"
_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"

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
    "lab_result": "status category code subject encounter effectiveDateTime valueQuantity valueString interpretation "
    "referenceRange",
    "lab_order": "status category code subject encounter performer effectiveDateTime issued result",
    "problem": "clinicalStatus verificationStatus category code subject recorder onsetDateTime abatementDateTime "
    "recordedDate",
    "allergy": "clinicalStatus verificationStatus code category patient recorder onsetDateTime recordedDate reaction",
    "prescription": "status intent medicationCodeableConcept subject encounter requester authoredOn dosageInstruction "
    "dispenseRequest",
    "immunization": "status vaccineCode patient encounter occurrenceDateTime lotNumber site performer",
    "note": "status docStatus type subject date author context content",
    "document": "status docStatus type subject date author context content",
}
"""Per entity the elements the truth states: one that an expected resource lacks must not be in Medplum either."""


def expected(record: Record) -> Iterator[tuple[str, Resource, list[str]]]:
    """(slot, expected resource, elements that must be absent) of a successful record's resources."""
    stated = STATED[record.entity].split()
    for slot, elements in _BUILD[record.entity](record):
        system = f"{IDENTIFIER_BASE}/{record.entity}" + ("" if slot == MAIN else f"/{slot}")
        identifiers = [identifier(system, str(record.key)), *elements.pop("identifier", [])]
        held = {name: value for name, value in elements.items() if value not in (None, [], {})}
        resource = {"resourceType": RESOURCE_TYPES[record.entity], "identifier": identifiers, **held}
        yield slot, resource, [name for name in stated if name not in held]


# -- the group -------------------------------------------------------------------------------------


def _organization(r: Record) -> Iterator[Expected]:
    c = r.clean
    yield (
        MAIN,
        {
            "identifier": identifiers((NPI, c["npi"])),
            "active": True,
            "name": c["name"],
            "telecom": telecom("phone", c["phone"]),
            "address": [address(c, "address_line")],
            "partOf": reference(r.references.get("org_id")),
        },
    )


def _location(r: Record) -> Iterator[Expected]:
    yield MAIN, {
        "status": target_code("location_status", r.clean["status_code"]), "name": r.clean["name"],
        "physicalType": concept("location_kind", r.clean["kind_code"]),
        "managingOrganization": reference(r.references["clinic_id"]),
        "partOf": reference(r.references.get("parent_location_id")),
    }  # fmt: skip


def _staff(r: Record) -> Iterator[Expected]:
    c = r.clean
    yield (
        MAIN,
        {
            "identifier": identifiers((f"{IDENTIFIER_BASE}/staff-number", c["staff_no"]), (NPI, c["npi"])),
            "active": c["active_flag"] == "Y",
            "name": [{"family": c["family_name"], "given": [c["given_name"]]}],
            "gender": target_code("sex", c["sex_code"]),
            "telecom": telecom("phone", c["phone"]) + telecom("email", c["email"]),
            "qualification": [{"code": concept("staff_credential", c["credential_code"])}],
        },
    )


def _assignment(r: Record) -> Iterator[Expected]:
    c = r.clean
    yield MAIN, {
        "active": c["end_on"] is None, "practitioner": reference(r.references["staff_id"]),
        "organization": reference(r.references["clinic_id"]), "code": some_list(concept("staff_role", c["role_code"])),
        "specialty": some_list(concept("specialty", c["specialty_code"])),
        "period": some(start=day(c["start_on"]), end=day(c["end_on"])),
    }  # fmt: skip


# -- the patient -----------------------------------------------------------------------------------

_PHONE_USES = {"H": "home", "M": "mobile", "W": "work"}


def _patient(r: Record) -> Iterator[Expected]:
    c = r.clean
    given = [name for column in ("given_name", "middle_name") if (name := plain_text(c[column]))]
    phones = [p for kind, use in _PHONE_USES.items() for p in telecom("phone", c["phones"].get(kind), use=use)]
    language = concept("language", c["language_code"])
    yield (
        MAIN,
        {
            "identifier": identifiers(
                (f"{IDENTIFIER_BASE}/mrn", c["mrn"]),
                (SSN, c["ssn"]),
                (f"{IDENTIFIER_BASE}/medicaid-number", c["medicaid"]),
            ),
            "active": True,
            "name": [
                some(use="official", family=c["family_name"], given=given, suffix=some_list(plain_text(c["suffix"])))
            ],
            "gender": target_code("sex", c["sex_code"]),
            "birthDate": c["birth_date"],
            "deceasedDateTime": day(c["deceased_on"]),
            "maritalStatus": concept("marital_status", c["marital_code"]),
            "communication": [{"language": language}],
            "telecom": phones + telecom("email", c["email"]),
            "address": some_list(address(c["address"], "line1", "line2", use="home") if c["address"] else None),
            "managingOrganization": reference(r.references["home_clinic_id"]),
            "generalPractitioner": some_list(reference(r.references.get("pcp_staff_id"))),
        },
    )


def _coverage(r: Record) -> Iterator[Expected]:
    c = r.clean
    group = {"type": standard("http://terminology.hl7.org/CodeSystem/coverage-class", "group"), "value": c["group_no"]}
    yield (
        MAIN,
        {
            "status": target_code("coverage_status", c["status_code"]),
            "beneficiary": reference(r.references["patient_id"]),
            "subscriberId": c["member_no"],
            "relationship": concept("relationship", c["relationship_code"]),
            "order": c["priority"],
            "period": some(start=day(c["start_on"]), end=day(c["end_on"])),
            "payor": [
                {"identifier": identifier(f"{IDENTIFIER_BASE}/payer", c["payer_code"]), "display": c["payer_name"]}
            ],
            "class": [group] if c["group_no"] else None,
        },
    )


# -- visits ----------------------------------------------------------------------------------------

_PARTICIPATION = {"P": "needs-action", "C": "declined"}


def _appointment(r: Record) -> Iterator[Expected]:
    c = r.clean
    status = _PARTICIPATION.get(c["status_code"], "accepted")
    start = c["starts_at"].replace(tzinfo=r.zone)
    end = (start.astimezone(UTC) + timedelta(minutes=c["minutes"])).astimezone(r.zone)
    actors = (r.references.get(column) for column in ("patient_id", "staff_id", "location_id"))
    yield (
        MAIN,
        {
            "status": target_code("appointment_status", c["status_code"]),
            "appointmentType": concept("appointment_type", c["type_code"]),
            "start": local_instant(r, "starts_at"),
            "end": end.isoformat(timespec="seconds"),
            "minutesDuration": c["minutes"],
            "description": plain_text(c["reason_text"]),
            "participant": [{"actor": reference(actor), "status": status} for actor in actors if actor],
        },
    )


def _encounter(r: Record) -> Iterator[Expected]:
    c = r.clean
    yield (
        MAIN,
        {
            "status": target_code("encounter_status", c["status_code"]),
            "class": target("encounter_class", c["class_code"]),
            "subject": reference(r.references["patient_id"]),
            "participant": [{"individual": reference(r.references["staff_id"])}],
            "location": [{"location": reference(r.references["location_id"])}],
            "appointment": some_list(reference(r.references.get("appointment_id"))),
            "serviceProvider": reference(r.references["clinic_id"]),
            "period": some(start=local_instant(r, "started_at"), end=local_instant(r, "ended_at")),
            "reasonCode": [{"text": c["reason_text"]}],
        },
    )


_PLAIN_VITALS = {"heart_rate": "/min", "spo2": "%"}


def _vitals(r: Record) -> Iterator[Expected]:
    c = r.clean
    shared = {
        "status": "final",
        "category": [standard(_CATEGORY, "vital-signs")],
        "subject": reference(r.references["patient_id"]),
        "encounter": reference(r.references["encounter_id"]),
        "performer": [reference(r.references["staff_id"])],
        "effectiveDateTime": local_instant(r, "taken_at"),
    }
    for slot in ("weight", "height", "temperature"):
        if c[slot] is not None:
            unit = TABLES["vital_unit"][c[f"{slot}_unit"]]
            measured = quantity(c[slot], str(unit.display), str(unit.code))
            yield slot, {**shared, "code": concept("vital", slot), "valueQuantity": measured}
    for slot, code in _PLAIN_VITALS.items():
        if c[slot] is not None:
            yield slot, {**shared, "code": concept("vital", slot), "valueQuantity": quantity(c[slot], code, code)}
    if c["systolic"] is not None:
        parts = [{"code": concept("vital", part), "valueQuantity": quantity(c[part], "mmHg", "mm[Hg]")}
                 for part in ("systolic", "diastolic")]  # fmt: skip
        yield "blood_pressure", {**shared, "code": concept("vital", "blood_pressure"), "component": parts}


def _lab_value(c: dict[str, Any]) -> dict[str, Any]:
    if c["test_code"] in QUALITATIVE:
        return {"valueString": c["result_text"]}
    text, unit = c["result_text"], TABLES["lab_unit"][c["unit_text"]]
    value, low, high = (
        quantity(number, str(unit.display), str(unit.code))
        for number in (text.lstrip("<>"), c["ref_low"], c["ref_high"])
    )
    comparator = {"comparator": text[0]} if text[0] in "<>" else {}
    return {"valueQuantity": value | comparator, "referenceRange": [{"low": low, "high": high}]}


def _lab_result(r: Record) -> Iterator[Expected]:
    c = r.clean
    yield MAIN, {
        "status": target_code("result_status", c["status_code"]), "category": [standard(_CATEGORY, "laboratory")],
        "code": concept("lab_test", c["test_code"]), "subject": reference(r.references["patient_id"]),
        "encounter": reference(r.references["encounter_id"]), "effectiveDateTime": local_instant(r, "collected_at"),
        "interpretation": [concept("abnormal_flag", c["abnormal_flag"])], **_lab_value(c),
    }  # fmt: skip


def _lab_order(r: Record) -> Iterator[Expected]:
    c = r.clean
    yield MAIN, {
        "identifier": identifiers((f"{IDENTIFIER_BASE}/accession", c["accession_no"])),
        "status": target_code("lab_status", c["status_code"]),
        "category": [standard("http://terminology.hl7.org/CodeSystem/v2-0074", "LAB")],
        "code": concept("lab_panel", c["panel_code"]), "subject": reference(r.references["patient_id"]),
        "encounter": reference(r.references["encounter_id"]), "performer": [reference(r.references["staff_id"])],
        "effectiveDateTime": local_instant(r, "collected_at"), "issued": local_instant(r, "reported_at"),
        "result": [reference(child) for child in r.waited_for()],
    }  # fmt: skip


# -- clinical state --------------------------------------------------------------------------------


def _status(table: str, local: str, verification: str) -> dict[str, Any]:
    """clinicalStatus, or for a row entered in error verificationStatus; the local code is kept with either."""
    status = concept(table, local)
    if local != "E" or status is None:
        return {"clinicalStatus": status}
    error = standard(f"http://terminology.hl7.org/CodeSystem/{verification}", "entered-in-error")
    return {"verificationStatus": {"coding": [*error["coding"], *status["coding"]]}}


def _problem(r: Record) -> Iterator[Expected]:
    c = r.clean
    yield (
        MAIN,
        {
            **_status("problem_status", c["status_code"], "condition-ver-status"),
            "category": [standard("http://terminology.hl7.org/CodeSystem/condition-category", "problem-list-item")],
            "code": concept("problem", c.get("typed_problem_code") or c["problem_code"], c["problem_text"]),
            "subject": reference(r.references["patient_id"]),
            "recorder": reference(r.references.get("staff_id")),
            "onsetDateTime": c["onset_date"],
            "abatementDateTime": day(c["resolved_on"]),
            "recordedDate": local_instant(r, "recorded_at"),
        },
    )


def _allergy(r: Record) -> Iterator[Expected]:
    c = r.clean
    reaction = some(manifestation=[{"text": c["reaction_text"]}], severity=target_code("severity", c["severity_code"]))
    yield (
        MAIN,
        {
            **_status("allergy_status", c["status_code"], "allergyintolerance-verification"),
            "code": concept("allergy", c["substance_code"], c["substance_text"]),
            "category": some_list(target_code("allergy_kind", c["kind_code"])),
            "patient": reference(r.references["patient_id"]),
            "recorder": reference(r.references.get("staff_id")),
            "onsetDateTime": c["onset_date"],
            "recordedDate": local_instant(r, "recorded_at"),
            "reaction": [reaction] if c["reaction_text"] else None,
        },
    )


def _prescription(r: Record) -> Iterator[Expected]:
    c = r.clean
    yield MAIN, {
        "status": target_code("prescription_status", c["status_code"]), "intent": "order",
        "medicationCodeableConcept": concept("drug", c["drug_code"], c["drug_text"]),
        "subject": reference(r.references["patient_id"]), "encounter": reference(r.references["encounter_id"]),
        "requester": reference(r.references["staff_id"]), "authoredOn": local_instant(r, "written_at"),
        "dosageInstruction": [{"text": c["sig_text"]}],
        "dispenseRequest": {"quantity": {"value": number(c["quantity"])}, "numberOfRepeatsAllowed": c["refills"]},
    }  # fmt: skip


def _immunization(r: Record) -> Iterator[Expected]:
    c = r.clean
    yield (
        MAIN,
        {
            "status": target_code("immunization_status", c["status_code"]),
            "vaccineCode": concept("vaccine", c["vaccine_code"]),
            "patient": reference(r.references["patient_id"]),
            "encounter": reference(r.references["encounter_id"]),
            "occurrenceDateTime": day(c["given_on"]),
            "lotNumber": c["lot_no"],
            "site": concept("body_site", c["site_code"]),
            "performer": [{"actor": reference(r.references["staff_id"])}],
        },
    )


# -- papers ----------------------------------------------------------------------------------------


def _attachment(content_type: str, data: bytes, title: str | None) -> dict[str, Any]:
    encoded = base64.b64encode(data).decode()
    return {"attachment": some(contentType=content_type, data=encoded, title=plain_text(title))}


def _note(r: Record) -> Iterator[Expected]:
    c = r.clean
    yield (
        MAIN,
        {
            "status": "entered-in-error" if c["status_code"] == "E" else "current",
            "docStatus": target_code("note_status", c["status_code"]),
            "type": concept("note_kind", c["kind_code"]),
            "subject": reference(r.references["patient_id"]),
            "date": local_instant(r, "written_at"),
            "author": [reference(r.references["staff_id"])],
            "context": {"encounter": [reference(r.references["encounter_id"])]},
            "content": [_attachment("text/plain; charset=utf-8", c["body"].encode(), c["title"])],
        },
    )


def _document(r: Record) -> Iterator[Expected]:
    c = r.clean
    yield MAIN, {
        "status": "current", "type": concept("document_kind", c["kind_code"]),
        "subject": reference(r.references["patient_id"]), "date": local_instant(r, "received_at"),
        "context": {"encounter": [reference(r.references["encounter_id"])]},
        "content": [_attachment(c["mime_type"], c["content"], c["file_name"])],
    }  # fmt: skip


_BUILD: dict[str, Callable[[Record], Iterator[Expected]]] = {
    "organization": _organization,
    "clinic": _organization,
    "location": _location,
    "staff": _staff,
    "assignment": _assignment,
    "patient": _patient,
    "coverage": _coverage,
    "appointment": _appointment,
    "encounter": _encounter,
    "vitals": _vitals,
    "lab_result": _lab_result,
    "lab_order": _lab_order,
    "problem": _problem,
    "allergy": _allergy,
    "prescription": _prescription,
    "immunization": _immunization,
    "note": _note,
    "document": _document,
}
