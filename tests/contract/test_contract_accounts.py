"""`meta.accounts`, who may see a resource: shown in the extended mode, replaced by an admin's `meta`."""

import pytest

from tests.contract.target import Json, Target

EXTENDED = {"X-Medplum": "extended"}
ACCOUNT = {"reference": "Organization/00000000-0000-4000-8000-00000000000a"}


def shared(target: Target, resource: Json) -> Json:
    """A resource of which somebody else has set the accounts."""
    created = target.create(resource)
    url = f"{created['resourceType']}/{created['id']}"
    parameters = {"resourceType": "Parameters", "parameter": [{"name": "accounts", "valueReference": ACCOUNT}]}
    answer = target.post(f"{url}/$set-accounts", json=parameters)
    if answer.status_code in (403, 404):
        pytest.skip("this client may not call $set-accounts")
    assert answer.status_code == 200
    return dict(target.get(url).json())


def accounts(target: Target, resource: Json) -> list[str]:
    meta = target.get(f"{resource['resourceType']}/{resource['id']}", headers=EXTENDED).json()["meta"]
    return [each["reference"] for each in meta.get("accounts", [])]


def test_set_accounts_makes_a_version(target: Target) -> None:
    patient = target.create(target.patient())
    after = shared(target, target.patient())
    assert accounts(target, after) == [ACCOUNT["reference"]]
    assert accounts(target, patient) == []
    assert len(target.get(f"Patient/{after['id']}/_history").json()["entry"]) == 2


def test_meta_account_is_shown_only_when_asked_for(target: Target) -> None:
    assert "account" not in shared(target, target.patient())["meta"]


def test_a_search_in_an_extended_batch_shows_accounts(target: Target) -> None:
    patient = shared(target, target.patient())
    request = {"method": "GET", "url": f"Patient?_id={patient['id']}&_fields=id,identifier,meta"}
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": [{"request": request}]}
    [answer] = target.post("", json=bundle, headers=EXTENDED).json()["entry"]
    assert answer["resource"]["entry"][0]["resource"]["meta"]["accounts"] == [ACCOUNT]


def test_a_plain_update_of_a_patient_leaves_its_accounts(target: Target) -> None:
    patient = shared(target, target.patient())
    update = target.patient() | {"id": patient["id"]}
    assert target.put(f"Patient/{patient['id']}", json=update).status_code == 200
    assert accounts(target, patient) == [ACCOUNT["reference"]]


def test_an_admin_s_meta_replaces_the_accounts(embedded) -> None:
    _, target = embedded(project_admin=True)
    patient = shared(target, target.patient())
    url, update = f"Patient/{patient['id']}", target.patient() | {"id": patient["id"]}
    kept = update | {"meta": update["meta"] | {"accounts": [ACCOUNT]}}
    assert target.put(url, json=kept, headers=EXTENDED).status_code == 200
    assert accounts(target, patient) == [ACCOUNT["reference"]]
    assert target.put(url, json=update | {"active": True}, headers=EXTENDED).status_code == 200
    assert accounts(target, patient) == []


def test_what_is_about_a_patient_has_its_accounts(embedded) -> None:
    _, target = embedded(project_admin=True)
    patient = shared(target, target.patient())
    created = target.create(target.observation({"reference": f"Patient/{patient['id']}"}))
    assert accounts(target, created) == [ACCOUNT["reference"]]


def test_a_plain_update_by_an_admin_loses_the_accounts_of_what_is_no_patient(embedded) -> None:
    _, target = embedded(project_admin=True)
    organization = {"resourceType": "Organization", "meta": target.meta(), "name": "Contract"}
    target.types.add("Organization")
    after = shared(target, organization)
    url, body = f"Organization/{after['id']}", organization | {"id": after["id"], "name": "Other"}
    assert target.put(url, json=body | {"meta": body["meta"] | {"accounts": [ACCOUNT]}}).status_code == 200
    assert accounts(target, after) == []
