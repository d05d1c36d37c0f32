"""The other law of every inverse mapping: get(put(r, f)) = f, but for what is reported."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medferry.definition.migration import Migration
from medferry.fhir.validate import problems
from medferry.mapping import Columns, InverseContext, Resource, Row
from medferry.mapping.inverse import Inexpressible, RowChanges
from tests.clinics.golden import CASES, load
from tests.clinics.laws import back, clinics, edited, lost, mapped, told

UCUM = "http://unitsofmeasure.org"
BASE = "https://clinics.example/legacy"


def set_in(resource: Any, path: str, value: Any) -> None:
    """Put a value at ``a.0.b``; None takes it away."""
    *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    for step in steps:
        resource = resource[step]
    if value is None:
        del resource[last]
    elif isinstance(last, int) and last == len(resource):
        resource.append(value)
    else:
        resource[last] = value


def local(table: str, code: str, text: str | None = None) -> dict[str, Any]:
    """A CodeableConcept with the local coding that a user picks from Medferry's own code system."""
    coding = {"system": f"{BASE}/CodeSystem/{table}", "code": code}
    return {"coding": [coding], **({"text": text} if text else {})}


def edit_of(case: str, edits: dict[str, Any], slot: str = "main") -> tuple[RowChanges, dict[str, Any], dict[str, Any]]:
    """What comes of a golden row's resource with `edits` (path → value): the changes, the resource, what comes back."""
    migration, (entity, row) = clinics("clinics"), (case.partition("/")[0], load(case)["row"])
    now = copy.deepcopy(mapped(migration, entity, row))
    for path, value in edits.items():
        set_in(now[slot], path, value)
    changes = back(migration, entity, row, now)
    return changes, now[slot], mapped(migration, entity, {**row, **changes.columns})[slot]


EDITS: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("patient/full", "main", {"name.0.family": "Ng", "name.0.given": ["Ada", "Mei"], "name.0.suffix": None},
     {"family_name": "Ng", "given_name": "Ada", "middle_name": "Mei", "suffix": None}),
    ("patient/full", "main", {"telecom.0.value": "555-0199", "telecom.3.value": "a@b.example"},
     {"home_phone": "555-0199", "email": "a@b.example"}),
    ("patient/full", "main", {"telecom": None},
     dict.fromkeys(("home_phone", "mobile_phone", "work_phone", "email"))),
    ("patient/sparse", "main", {"telecom": [{"system": "phone", "use": "home", "value": "1"}]}, {"home_phone": "1"}),
    ("patient/sparse", "main",
     {"address": [{"use": "home", "line": ["1 Elm"], "city": "Salem", "state": "MA", "country": "US"}]},
     {"address_line1": "1 Elm", "city": "Salem", "state": "MA"}),
    ("patient/full", "main", {"address": None},
     dict.fromkeys(("address_line1", "address_line2", "city", "state", "postal_code"))),
    ("patient/full", "main", {"gender": "other", "birthDate": "1971-02"}, {"sex_code": "X", "birth_date": "1971-02"}),
    ("patient/full", "main", {"maritalStatus": local("marital_status", "P")}, {"marital_code": "P"}),
    ("patient/full", "main", {"communication.0.language": {"coding": [{"system": "urn:ietf:bcp:47", "code": "ht"}]}},
     {"language_code": "HAT"}),
    ("patient/full", "main", {"deceasedDateTime": "2025-01-31"}, {"deceased_on": "2025-01-31"}),
    ("patient/full", "main", {"generalPractitioner": [{"reference": f"Practitioner?identifier={BASE}/staff|9"}]},
     {"pcp_staff_id": "9"}),
    ("appointment/full", "main",
     {"start": "2024-07-01T14:00:00Z", "end": "2024-07-01T14:30:00Z", "minutesDuration": 30, "description": "cough"},
     {"starts_at": "2024-07-01 10:00:00", "minutes": 30, "reason_text": "cough"}),
    ("appointment/full", "main", {"appointmentType": local("appointment_type", "TELE")}, {"type_code": "TELE"}),
    ("encounter/open", "main", {"status": "finished"}, {"status_code": "C"}),
    ("problem/active", "main", {"onsetDateTime": "2018", "abatementDateTime": "2024-06-30"},
     {"onset_date": "2018", "resolved_on": "2024-06-30"}),
    ("problem/active", "main", {"code": {"text": "only words"}}, {"problem_code": None, "problem_text": "only words"}),
    ("problem/active", "main",
     {"clinicalStatus": None,
      "verificationStatus": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-ver-status",
                                         "code": "entered-in-error"}]}},
     {"status_code": "E"}),
    ("allergy/reaction", "main", {"reaction.0.severity": "severe", "reaction.0.manifestation.0.text": "hives"},
     {"severity_code": "SE", "reaction_text": "hives"}),
    ("prescription/coded", "main",
     {"status": "stopped", "dosageInstruction.0.text": "one daily", "dispenseRequest.quantity.value": 12.5},
     {"status_code": "D", "sig_text": "one daily", "quantity": 12.5}),
    ("immunization/given", "main", {"lotNumber": "L-2", "occurrenceDateTime": "2023-01-02"},
     {"lot_no": "L-2", "given_on": "2023-01-02"}),
    ("vitals/metric", "weight", {"valueQuantity.value": 71.25}, {"weight": 71.25}),
    ("vitals/imperial", "blood_pressure", {"component.0.valueQuantity.value": 131}, {"systolic": 131}),
]  # fmt: skip
"""Golden row, slot, edits that legacy can hold, the columns that they change."""


@pytest.mark.parametrize(("case", "slot", "edits", "columns"), EDITS)
def test_what_legacy_can_hold_comes_back_whole(
    case: str, slot: str, edits: dict[str, Any], columns: dict[str, Any]
) -> None:
    changes, now, returned = edit_of(case, edits, slot)
    kept = {column: value for column, value in changes.columns.items() if value != load(case)["row"][column]}
    assert kept == {c: value for c, value in columns.items() if value != load(case)["row"][c]}
    assert changes.cannot_express == ()
    assert lost(now, returned, {}) == set()


CANNOT: list[tuple[str, str, dict[str, Any], str, str]] = [
    ("patient/full", "main", {"name.0.given": ["A", "B", "C"]}, "name.given", "no-place"),
    ("patient/full", "main", {"name.1": {"use": "nickname", "given": ["Al"]}}, "name[nickname]", "no-place"),
    ("patient/full", "main", {"name.0.prefix": ["Dr."]}, "name[official].prefix", "no-place"),
    ("patient/full", "main", {"telecom.4": {"system": "fax", "value": "1"}}, "telecom[fax,]", "no-place"),
    ("patient/full", "main", {"address.0.country": "CA"}, "address", "no-place"),
    ("patient/full", "main", {"address.0.state": "Maine"}, "address.state", "too-long"),
    ("patient/full", "main", {"deceasedBoolean": True}, "deceasedBoolean", "no-place"),
    ("patient/full", "main", {"deceasedDateTime": "2025"}, "deceasedDateTime", "partial-date"),
    ("patient/full", "main", {"active": False}, "active", "comes-back-otherwise"),
    ("patient/full", "main", {"name.0.family": "N/A"}, "name.family", "reads-otherwise"),
    ("patient/full", "main", {"birthDate": "1900-01-01"}, "birthDate", "reads-otherwise"),
    ("patient/full", "main", {"birthDate": "2199-01-01"}, "birthDate", "row-refused"),
    ("patient/full", "main", {"identifier.1": None}, "identifier", "cannot-be-removed"),
    ("patient/full", "main", {"managingOrganization.reference": f"Organization?identifier={BASE}/clinic|x"},
     "managingOrganization.reference", "comes-back-otherwise"),
    ("patient/full", "main", {"maritalStatus": {"coding": [{"system": "http://x", "code": "U"}]}},
     "maritalStatus", "no-local-code"),
    ("appointment/full", "main", {"status": "waitlist"}, "status", "no-local-code"),
    ("appointment/full", "main", {"minutesDuration": 5}, "minutesDuration", "times-disagree"),
    ("appointment/full", "main", {"start": "2024-11-03T05:30:00Z", "end": "2024-11-03T05:45:00Z"},
     "start", "reads-otherwise"),
    ("encounter/full", "main", {"class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"}},
     "class", "no-local-code"),
    ("problem/active", "main", {"subject.reference": f"Patient?identifier={BASE}/patient|5"},
     "subject.reference", "comes-back-otherwise"),
    ("allergy/reaction", "main", {"criticality": "high"}, "", ""),
    ("vitals/metric", "weight", {"effectiveDateTime": "2024-01-01T10:00:00Z"}, "effectiveDateTime",
     "resources-disagree"),
    ("vitals/metric", "weight", {"valueQuantity": {"value": 150, "unit": "lb", "system": UCUM, "code": "[lb_av]"}},
     "valueQuantity.code", "several-local-codes"),
    ("vitals/metric", "weight", {"valueQuantity.value": 71, "valueQuantity.comparator": ">"}, "valueQuantity",
     "no-place"),
    ("problem/active", "main", {"code": {"coding": [{"system": "http://snomed.info/sct", "code": "1"}], "text": "new"}},
     "code", "no-local-code"),
    ("vitals/imperial", "heart_rate", {"valueQuantity.value": 71.5}, "valueQuantity", "fraction"),
    ("vitals/metric", "weight", {"valueQuantity": None}, "valueQuantity", "cannot-be-removed"),
]  # fmt: skip
"""Golden row, slot, an edit, and the place that is reported with its reason; none of what legacy never had."""


@pytest.mark.parametrize(("case", "slot", "edits", "path", "reason"), CANNOT)
def test_what_legacy_cannot_hold_is_reported_and_changes_nothing(
    case: str, slot: str, edits: dict[str, Any], path: str, reason: str
) -> None:
    changes, _, _ = edit_of(case, edits, slot)
    found = {(one.path, str(one.reason)) for one in changes.cannot_express}
    assert (path, reason) in found if path else found == set()
    assert changes.columns == {}


def test_the_laws_find_an_inverse_that_forgets_a_column(monkeypatch: pytest.MonkeyPatch) -> None:
    migration = clinics("clinics")
    whole = migration.inverses["patient"]

    def forgetful(resource: Resource, row: Row | None, ctx: InverseContext) -> Columns:
        return {c: value for c, value in whole.function(resource, row, ctx).items() if c != "given_name"}

    monkeypatch.setitem(dict_of(migration), "patient", replace(whole, function=forgetful))
    changes, now, returned = edit_of("patient/full", {"name.0.given": ["Ada", "Mei"]})
    assert changes.cannot_express != ()
    assert lost(now, returned, {}) != set()


def dict_of(migration: Migration) -> dict[str, Any]:
    assert isinstance(migration.inverses, dict)
    return migration.inverses


@settings(max_examples=800, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_somebody_edits_comes_back_or_is_reported(data: st.DataObject) -> None:
    migration = clinics("clinics")
    case = data.draw(st.sampled_from([case for case in CASES if case.partition("/")[0] in migration.inverses]))
    entity, row = case.partition("/")[0], load(case)["row"]
    before = mapped(migration, entity, row)
    slot = data.draw(st.sampled_from(sorted(before)))
    now = {**before, slot: data.draw(edited(migration, entity, copy.deepcopy(before[slot])))}
    changes = back(migration, entity, row, now)
    returned = mapped(migration, entity, {**row, **changes.columns})
    for name, resource in now.items():
        for path in lost(resource, returned[name], before[name]):
            assert told(path, changes), (path, changes, resource)
    if any(one.reason == Inexpressible.INVERSE_ERROR for one in changes.cannot_express):
        assert problems(now[slot]), "an inverse may stumble over what is no FHIR only"
