"""Transactions, with and without the project feature `transaction-bundles`."""

import uuid

import pytest

from tests.contract.target import Target, create, status, text, update


def conditional(target: Target) -> dict:
    patient = target.patient()
    return update(f"Patient?identifier={target.key(patient)}", patient)


def test_without_the_feature_a_transaction_is_a_batch(target: Target) -> None:
    good, bad = target.patient(), target.patient(gender=1)
    answer = target.bundle([create(good), create(bad)], kind="transaction")
    if target.live and answer.status_code == 400:
        pytest.skip("the live project has the feature transaction-bundles")
    assert answer.json()["type"] == "transaction-response"
    assert [status(entry) for entry in answer.json()["entry"]] == [201, 400]
    assert len(target.found(target.key(good))) == 1


def test_with_the_feature_a_transaction_is_atomic(embedded) -> None:
    _, target = embedded(transaction_bundles=True)
    good, bad = target.patient(), target.patient(gender=1)
    existing = target.create(target.patient(gender="female"))
    changed = update(f"Patient/{existing['id']}", existing | {"gender": "male"})
    assert target.bundle([create(good), changed, create(bad)], kind="transaction").status_code == 400
    assert target.found(target.key(good)) == []
    assert target.get(f"Patient/{existing['id']}").json() == existing
    answer = target.bundle([create(good), changed], kind="transaction")
    assert answer.json()["type"] == "transaction-response"
    assert [status(entry) for entry in answer.json()["entry"]] == [201, 200]
    assert len(target.found(target.key(good))) == 1
    assert target.search("Patient", _summary="count")["total"] == 2


def test_with_the_feature_a_rolled_back_delete_and_resurrection_leave_no_trace(embedded) -> None:
    _, target = embedded(transaction_bundles=True)
    first, second = target.create(target.patient()), target.create(target.patient())
    target.delete(f"Patient/{second['id']}")
    delete = {"request": {"method": "DELETE", "url": f"Patient/{first['id']}"}}
    resurrect = update(f"Patient/{second['id']}", second)
    answer = target.bundle([delete, resurrect, create(target.patient(gender=1))], kind="transaction")
    assert answer.status_code == 400
    assert target.get(f"Patient/{first['id']}").json() == first
    assert target.get(f"Patient/{second['id']}").status_code == 410
    assert target.found(target.key(second)) == []
    assert [r["id"] for r in target.found(target.key(first))] == [first["id"]]


def test_with_the_feature_transactions_are_small(embedded) -> None:
    _, target = embedded(transaction_bundles=True)
    many = [create(target.patient()) for _ in range(20)]
    assert target.bundle(many, kind="transaction").status_code == 200
    nine = target.bundle([conditional(target), *many[:8]], kind="transaction")
    assert (nine.status_code, target.bundle([conditional(target), *many[:7]], kind="transaction").status_code) == (
        400,
        200,
    )
    assert "too many entries" in text(nine.json())
    patients = [target.create(target.patient()) for _ in range(51)]
    updates = [update(f"Patient/{patient['id']}", patient) for patient in patients]
    assert target.bundle(updates, kind="transaction").status_code == 400
    assert target.bundle(updates[:50], kind="transaction").status_code == 200


def test_a_batch_may_hold_transactions(embedded) -> None:
    _, target = embedded(transaction_bundles=True)
    good, lost = target.patient(), target.patient()
    inner = [
        {"resourceType": "Bundle", "type": "transaction", "entry": entries}
        for entries in ([create(good)], [create(lost), create(target.patient(gender=1))])
    ]
    results = target.batch(*({"request": {"method": "POST", "url": "/"}, "resource": bundle} for bundle in inner))
    assert [status(result) for result in results] == [200, 400]
    assert len(target.found(target.key(good))) == 1
    assert target.found(target.key(lost)) == []


def test_a_duplicate_identity_is_refused_with_the_feature(embedded) -> None:
    _, target = embedded(transaction_bundles=True)
    created = target.create(target.patient())
    entry = update(f"Patient/{created['id']}", created | {"gender": "male"})
    assert target.bundle([entry, entry], kind="transaction").status_code == 400
    unknown = update(f"Patient/{uuid.uuid4()}", created)
    assert target.bundle([unknown], kind="transaction").status_code == 400
