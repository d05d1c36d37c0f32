"""What races leave behind. A live server may answer the losers 409 or 400; what is stored is the same."""

from concurrent.futures import ThreadPoolExecutor

from tests.contract.target import Target, create, status, update

LANES = 8


def race(task, lanes: int = LANES) -> list:
    with ThreadPoolExecutor(lanes) as pool:
        return [future.result() for future in [pool.submit(task) for _ in range(lanes)]]


def test_concurrent_conditional_puts_leave_one(target: Target) -> None:
    patient = target.patient()
    params = {"identifier": target.key(patient)}
    answers = race(lambda: target.put("Patient", params=params, json=patient))
    assert [answer.status_code for answer in answers].count(201) == 1
    assert {answer.status_code for answer in answers} <= {200, 201, 409}
    assert len(target.found(target.key(patient))) == 1


def test_concurrent_if_none_exist_posts_leave_one(target: Target) -> None:
    patient = target.patient()
    headers = {"If-None-Exist": f"identifier={target.key(patient)}"}
    answers = race(lambda: target.post("Patient", json=patient, headers=headers))
    assert [answer.status_code for answer in answers].count(201) == 1
    assert len(target.found(target.key(patient))) == 1


def test_concurrent_identical_conditional_batches_leave_one_each(target: Target) -> None:
    patients = [target.patient() for _ in range(20)]
    entries = [update(f"Patient?identifier={target.key(patient)}", patient) for patient in patients]
    results = race(lambda: target.batch(*entries), lanes=4)
    assert {status(result) for batch in results for result in batch} <= {200, 201, 400, 409}
    assert [len(target.found(target.key(patient))) for patient in patients] == [1] * 20


def test_concurrent_plain_batches_all_succeed(target: Target) -> None:
    results = race(lambda: target.batch(*(create(target.patient()) for _ in range(25))), lanes=4)
    assert {status(result) for batch in results for result in batch} == {201}
    count = target.search("Patient", identifier=f"{target.system}|", _summary="count")
    assert count["total"] == 100


def test_of_concurrent_updates_with_the_same_if_match_one_wins(target: Target) -> None:
    created = target.create(target.patient())
    headers = {"If-Match": f'W/"{created["meta"]["versionId"]}"'}
    genders = iter(["male", "female", "other", "unknown"] * 2)

    def change():
        return target.put(f"Patient/{created['id']}", json=created | {"gender": next(genders)}, headers=headers)

    wins = [answer.status_code for answer in race(change)].count(200)
    assert wins == 1 or (target.live and wins > 1)  # nobody has observed a live server in this race
