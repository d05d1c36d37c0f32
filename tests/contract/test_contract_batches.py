"""Batches: order, each entry's own outcome, references."""

import uuid

from tests.contract.target import Target, create, entry_text, status, update


def test_entries_have_their_own_status_and_outcome(target: Target) -> None:
    good, bad = target.patient(), target.patient(gender=1)
    results = target.batch(create(good), create(bad), {"request": {"method": "GET", "url": f"Patient/{uuid.uuid4()}"}})
    assert [status(result) for result in results] == [201, 400, 404]
    assert results[0]["response"]["location"] == f"Patient/{results[0]['resource']['id']}"
    assert results[1]["response"]["outcome"]["issue"][0]["expression"] == ["Patient.gender"]


def test_creates_run_before_updates(target: Target) -> None:
    existing = target.create(target.patient(gender="female"))
    key = str(uuid.uuid4())
    reference = {"reference": f"Patient?identifier={target.system}|{key}"}
    changed = existing | {"gender": "male", "link": [{"other": reference, "type": "seealso"}]}
    results = target.batch(update(f"Patient/{existing['id']}", changed), create(target.patient(key)))
    assert [status(result) for result in results] == [200, 201]
    other = results[0]["resource"]["link"][0]["other"]["reference"]
    assert other == f"Patient/{results[1]['resource']['id']}"


def test_conditional_reference_to_a_later_create_fails(target: Target) -> None:
    key = str(uuid.uuid4())
    subject = {"reference": f"Patient?identifier={target.system}|{key}"}
    results = target.batch(create(target.observation(subject)), create(target.patient(key)))
    assert [status(result) for result in results] == [400, 201]
    assert "did not match any resources" in entry_text(results[0])


def test_conditional_put_with_several_matches_is_400_in_a_batch(target: Target) -> None:
    patient = target.patient()
    target.create(patient)
    target.create(patient)
    [result] = target.batch(update(f"Patient?identifier={target.key(patient)}", patient))
    assert status(result) == 400
    assert "matched multiple resources" in entry_text(result)


def test_the_same_new_key_twice_makes_the_second_400(target: Target) -> None:
    patient = target.patient()
    entry = update(f"Patient?identifier={target.key(patient)}", patient)
    results = target.batch(entry, entry)
    assert sorted(status(result) for result in results) == [201, 400]
    assert any("Resource ID did not match resolved ID" in entry_text(result) for result in results)
    assert len(target.found(target.key(patient))) == 1


def test_conditional_put_and_if_none_exist_in_a_batch(target: Target) -> None:
    put, post = target.patient(), target.patient()
    entries = [
        update(f"Patient?identifier={target.key(put)}", put),
        create(post, ifNoneExist=f"identifier={target.key(post)}"),
    ]
    first, second = target.batch(*entries), target.batch(*entries)
    assert [status(result) for result in first] == [201, 201]
    assert [status(result) for result in second] == [200, 200]
    assert [r["resource"]["id"] for r in first] == [r["resource"]["id"] for r in second]
    assert [r["resource"]["meta"]["versionId"] for r in first] == [r["resource"]["meta"]["versionId"] for r in second]


def test_stale_if_match_in_an_entry(target: Target) -> None:
    created = target.create(target.patient(gender="female"))
    url, etag = f"Patient/{created['id']}", f'W/"{created["meta"]["versionId"]}"'
    [first] = target.batch(update(url, created | {"gender": "male"}, ifMatch=etag))
    [second] = target.batch(update(url, created | {"gender": "other"}, ifMatch=etag))
    assert (status(first), status(second)) == (200, 412)


def test_urn_uuid_is_rewritten(target: Target) -> None:
    urn = f"urn:uuid:{uuid.uuid4()}"
    results = target.batch(create(target.patient(), full_url=urn), create(target.observation({"reference": urn})))
    patient, observation = (result["resource"] for result in results)
    assert observation["subject"]["reference"] == f"Patient/{patient['id']}"


def test_urn_uuid_of_a_failed_entry_points_at_nothing(target: Target) -> None:
    urn = f"urn:uuid:{uuid.uuid4()}"
    failing = target.patient(gender=1)
    results = target.batch(create(failing, full_url=urn), create(target.observation({"reference": urn})))
    assert [status(result) for result in results] == [400, 201]
    reference = results[1]["resource"]["subject"]["reference"]
    assert reference.startswith("Patient/")
    assert target.get(reference).status_code == 404


def test_urn_uuid_without_an_entry_is_stored_as_it_is(target: Target) -> None:
    urn = f"urn:uuid:{uuid.uuid4()}"
    [result] = target.batch(create(target.observation({"reference": urn})))
    assert result["resource"]["subject"]["reference"] == urn


def test_resolved_conditional_reference(target: Target) -> None:
    patient = target.create(target.patient())
    subject = {
        "reference": f"Patient?identifier={target.key(patient)}",
        "type": "Patient",
        "identifier": patient["identifier"][0],
    }
    created = target.create(target.observation(subject))
    assert created["subject"] == {"reference": f"Patient/{patient['id']}", "display": "Test Contract"}


def test_conditional_reference_with_several_matches(target: Target) -> None:
    patient = target.patient()
    target.create(patient)
    target.create(patient)
    subject = {"reference": f"Patient?identifier={target.key(patient)}"}
    [result] = target.batch(create(target.observation(subject)))
    assert status(result) == 400
    assert "matched multiple resources" in entry_text(result)


def test_dangling_literal_reference_is_accepted(target: Target) -> None:
    [result] = target.batch(create(target.observation({"reference": f"Patient/{uuid.uuid4()}"})))
    assert status(result) == 201


def test_check_references_on_write(embedded) -> None:
    _, target = embedded(check_references=True)
    dangling = target.observation({"reference": f"Patient/{uuid.uuid4()}"})
    patient = target.create(target.patient())
    results = target.batch(create(dangling), create(target.observation({"reference": f"Patient/{patient['id']}"})))
    assert [status(result) for result in results] == [400, 201]
    assert "Invalid reference (Not found)" in entry_text(results[0])


def test_prefer_return_minimal_hides_the_outcomes(target: Target) -> None:
    patient = target.patient()
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": [create(patient), create(target.patient(gender=1))]}
    answer = target.post("", json=bundle, headers={"Prefer": "return=minimal"})
    assert answer.status_code == 200
    assert answer.content == b""
    assert len(target.found(target.key(patient))) == 1


def test_unknown_bundle_types_and_empty_bundles_are_refused(target: Target) -> None:
    assert target.bundle([create(target.patient())], kind="collection").status_code == 400
    assert target.bundle([]).status_code == 400


def test_delete_in_a_batch(target: Target) -> None:
    created = target.create(target.patient())
    [result] = target.batch({"request": {"method": "DELETE", "url": f"Patient/{created['id']}"}})
    assert status(result) == 200
    assert target.get(f"Patient/{created['id']}").status_code == 410
