"""Identity and idempotence of single requests."""

import uuid

from tests.contract.changes import CONDITIONAL_IF_MATCH, DELETE_IF_MATCH
from tests.contract.target import Target, text


def conditional_put(target: Target, key: str, resource: dict) -> tuple[int, dict]:
    answer = target.put("Patient", params={"identifier": key}, json=resource)
    return answer.status_code, answer.json()


def test_conditional_put_creates_then_updates(target: Target) -> None:
    patient = target.patient(gender="female")
    status, created = conditional_put(target, target.key(patient), patient)
    assert status == 201
    status, updated = conditional_put(target, target.key(patient), patient | {"gender": "male"})
    assert status == 200
    assert updated["id"] == created["id"]
    assert updated["meta"]["versionId"] != created["meta"]["versionId"]
    assert len(target.found(target.key(patient))) == 1


def test_conditional_put_with_several_matches(target: Target) -> None:
    patient = target.patient()
    target.create(patient)
    target.create(patient)
    status, outcome = conditional_put(target, target.key(patient), patient)
    assert status == 412
    assert outcome["issue"][0]["code"] == "multiple-matches"


def test_conditional_put_refuses_an_id_without_a_match(target: Target) -> None:
    patient = target.patient() | {"id": str(uuid.uuid4())}
    status, outcome = conditional_put(target, target.key(patient), patient)
    assert status == 400
    assert text(outcome) == "Cannot perform create as update with client-assigned ID"


def test_conditional_put_whose_body_lacks_the_key_makes_duplicates(target: Target) -> None:
    asked_for = f"{target.system}|{uuid.uuid4()}"
    patient = target.patient()
    assert [conditional_put(target, asked_for, patient)[0] for _ in range(2)] == [201, 201]
    assert len(target.found(target.key(patient))) == 2


def test_identical_put_makes_no_version(target: Target) -> None:
    patient = target.patient()
    created = target.create(patient)
    by_id = target.put(f"Patient/{created['id']}", json=patient | {"id": created["id"]})
    assert by_id.status_code == 200
    status, conditional = conditional_put(target, target.key(patient), patient)
    assert status == 200
    assert by_id.json()["meta"]["versionId"] == conditional["meta"]["versionId"] == created["meta"]["versionId"]
    history = target.get(f"Patient/{created['id']}/_history").json()
    assert len(history["entry"]) == 1


def test_put_without_meta_removes_tag_and_source(target: Target) -> None:
    created = target.create(target.patient())
    bare = {name: value for name, value in created.items() if name != "meta"}
    updated = target.put(f"Patient/{created['id']}", json=bare).json()
    assert updated["meta"]["versionId"] != created["meta"]["versionId"]
    assert "tag" not in updated["meta"]
    assert "source" not in updated["meta"]
    target.put(f"Patient/{created['id']}", json=created)  # tagged again, so that it is cleaned up


def test_post_if_none_exist(target: Target) -> None:
    patient = target.patient(gender="female")
    headers = {"If-None-Exist": f"identifier={target.key(patient)}"}
    first = target.post("Patient", json=patient, headers=headers)
    second = target.post("Patient", json=patient | {"gender": "male"}, headers=headers)
    assert (first.status_code, second.status_code) == (201, 200)
    assert second.json()["id"] == first.json()["id"]
    assert second.json()["gender"] == "female"
    target.create(patient)
    several = target.post("Patient", json=patient, headers=headers)
    assert several.status_code == 412


def test_client_assigned_ids(target: Target) -> None:
    own = str(uuid.uuid4())
    put = target.put(f"Patient/{own}", json=target.patient() | {"id": own})
    assert put.status_code == 404
    assert target.create(target.patient() | {"id": own})["id"] != own


def test_if_match(target: Target) -> None:
    created = target.create(target.patient(gender="female"))
    url, stale = f"Patient/{created['id']}", f'W/"{created["meta"]["versionId"]}"'
    changed = target.put(url, json=created | {"gender": "male"}, headers={"If-Match": stale})
    assert changed.status_code == 200
    lost = target.put(url, json=created | {"gender": "other"}, headers={"If-Match": stale})
    assert lost.status_code == 412
    assert target.get(url).json()["gender"] == "male"


def test_a_stale_if_match_on_a_conditional_put(target: Target) -> None:
    patient = target.patient(gender="female")
    created = target.create(patient)
    params, changed = {"identifier": target.key(patient)}, patient | {"gender": "male"}

    def put(version: str) -> int:
        headers = {"If-Match": f'W/"{version}"'}
        return target.put("Patient", params=params, json=changed, headers=headers).status_code

    refused = target.has(CONDITIONAL_IF_MATCH)
    assert put(str(uuid.uuid4())) == (412 if refused else 200)
    assert target.get(f"Patient/{created['id']}").json()["gender"] == ("female" if refused else "male")
    if refused:
        assert put(created["meta"]["versionId"]) == 200


def test_a_stale_if_match_on_a_delete(target: Target) -> None:
    created = target.create(target.patient())
    url = f"Patient/{created['id']}"
    refused = target.has(DELETE_IF_MATCH)
    answer = target.request("DELETE", url, headers={"If-Match": f'W/"{uuid.uuid4()}"'})
    assert answer.status_code == (412 if refused else 200)
    assert target.get(url).status_code == (200 if refused else 410)
    if refused:
        headers = {"If-Match": f'W/"{created["meta"]["versionId"]}"'}
        assert target.request("DELETE", url, headers=headers).status_code == 200


def test_delete_then_put_resurrects(target: Target) -> None:
    created = target.create(target.patient())
    url = f"Patient/{created['id']}"
    assert target.delete(url).status_code == 200
    assert target.get(url).status_code == 410
    assert target.found(target.key(created)) == []
    assert target.put(url, json=created).status_code == 200
    assert target.get(url).json()["id"] == created["id"]
    assert len(target.found(target.key(created))) == 1


def test_conditional_put_after_a_delete_makes_a_new_id(target: Target) -> None:
    patient = target.patient()
    created = target.create(patient)
    target.delete(f"Patient/{created['id']}")
    status, again = conditional_put(target, target.key(patient), patient)
    assert status == 201
    assert again["id"] != created["id"]


def test_identifiers_are_not_unique(target: Target) -> None:
    patient = target.patient()
    ids = {target.create(patient)["id"], target.create(patient)["id"]}
    assert {resource["id"] for resource in target.found(target.key(patient))} == ids


def test_identifiers_tell_upper_from_lower_case(target: Target) -> None:
    key = uuid.uuid4().hex
    target.create(target.patient(f"a{key}"))
    target.create(target.patient(f"A{key}"))
    assert [r["identifier"][0]["value"] for r in target.found(f"{target.system}|A{key}")] == [f"A{key}"]
