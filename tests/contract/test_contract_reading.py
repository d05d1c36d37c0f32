"""Search, paging, totals, history, and what is read back."""

import json
import time
import uuid
from urllib.parse import quote, urlsplit

import pytest

from medferry.fhir.references import system_token
from tests.contract.target import TAG_SYSTEM, Json, Target, create, text


def walk(target: Target, resource_type: str, **params: str) -> list[list[Json]]:
    """The pages of a search, by its `next` links."""
    pages = []
    bundle = target.search(resource_type, **params)
    while True:
        pages.append([entry["resource"] for entry in bundle.get("entry", [])])
        link = next((link["url"] for link in bundle["link"] if link["relation"] == "next"), None)
        if link is None:
            return pages
        parts = urlsplit(link)
        bundle = target.get(f"{parts.path.split('/fhir/R4/')[1]}?{parts.query}").json()


def test_cursor_walk_over_more_than_a_page(target: Target) -> None:
    target.fill([target.patient(str(n)) for n in range(1100)])
    pages = walk(target, "Patient", identifier=f"{target.system}|", _sort="_lastUpdated", _count="1000")
    assert [len(page) for page in pages] == [1000, 100]
    values = [resource["identifier"][0]["value"] for page in pages for resource in page]
    assert sorted(values, key=int) == [str(n) for n in range(1100)]
    times = [resource["meta"]["lastUpdated"] for page in pages for resource in page]
    assert times == sorted(times)
    keys = ",".join(f"{target.system}|{n}" for n in range(1000))
    looked_up = target.post(
        "Patient/_search", data={"identifier": keys, "_count": "1000", "_fields": "identifier,meta"}
    )
    assert {e["resource"]["identifier"][0]["value"] for e in looked_up.json()["entry"]} == {str(n) for n in range(1000)}
    assert len(target.search("Patient", identifier=f"{target.system}|", _count="5000")["entry"]) == 1000


def test_a_small_cursor_walk_sees_each_once(target: Target) -> None:
    target.fill([target.patient(str(n)) for n in range(25)])
    pages = walk(target, "Patient", _tag=f"{TAG_SYSTEM}|{target.tag}", _sort="_lastUpdated", _count="10")
    assert [len(page) for page in pages] == [10, 10, 5]
    assert len({resource["id"] for page in pages for resource in page}) == 25
    first = target.search("Patient", identifier=f"{target.system}|", _sort="_lastUpdated", _count="10")
    assert any("_cursor=" in link["url"] for link in first["link"] if link["relation"] == "next")


def test_default_page_and_offset_paging(target: Target) -> None:
    target.fill([target.patient(str(n)) for n in range(45)])
    assert len(target.search("Patient", identifier=f"{target.system}|")["entry"]) == 20
    pages = walk(target, "Patient", identifier=f"{target.system}|")
    assert [len(page) for page in pages] == [20, 20, 5]
    assert len({resource["id"] for page in pages for resource in page}) == 45
    assert target.get("Patient", params={"_offset": "10001"}).status_code == 400
    assert target.get("Patient", params={"_offset": "10000"}).status_code == 200


def test_totals(target: Target) -> None:
    target.fill([target.patient(str(n)) for n in range(30)])
    system = f"{target.system}|"
    counted = target.search("Patient", identifier=system, _summary="count")
    assert counted["total"] == 30
    assert "entry" not in counted
    of_any = {"identifier": f"{system},{target.system}-else|", "_tag": f"{TAG_SYSTEM}|{target.tag}"}
    assert target.search("Patient", **of_any, _summary="count")["total"] == 30
    assert target.search("Patient", identifier=system, _total="accurate", _count="5")["total"] == 30
    assert "total" not in target.search("Patient", identifier=system)


def test_search_by_id_tag_source_and_type_of_identifier(target: Target) -> None:
    ids = [target.create(target.patient(str(n)))["id"] for n in range(3)]

    def found(**params: str) -> set[str]:
        return {entry["resource"]["id"] for entry in target.search("Patient", **params).get("entry", [])}

    assert found(_id=",".join(ids[:2])) == set(ids[:2])
    assert found(_tag=f"{TAG_SYSTEM}|{target.tag}") == set(ids)
    assert found(_source=f"urn:medferry:{target.tag}") == set(ids)
    assert found(identifier=f"{target.system}|1,{target.system}|2") == set(ids[1:])
    assert found(identifier=f"{target.system}|1", _id=ids[0]) == set()
    assert found(_tag=f"{TAG_SYSTEM}|{uuid.uuid4()}") == set()


def test_search_by_last_updated(target: Target) -> None:
    first = target.create(target.patient())
    time.sleep(0.01)
    second = target.create(target.patient())
    at = {"first": first["meta"]["lastUpdated"], "second": second["meta"]["lastUpdated"]}
    assert at["first"] < at["second"]

    def found(condition: str) -> list[str]:
        bundle = target.search("Patient", identifier=f"{target.system}|", _lastUpdated=condition)
        return sorted(entry["resource"]["id"] for entry in bundle.get("entry", []))

    both = sorted([first["id"], second["id"]])
    assert found(f"ge{at['first']}") == both
    assert found(f"gt{at['first']}") == [second["id"]]
    assert found(f"le{at['second']}") == both
    assert found(f"lt{at['second']}") == [first["id"]]
    assert found("lt2000-01-01") == []


def test_search_by_reference_and_compartment(target: Target) -> None:
    patient, other = target.create(target.patient()), target.create(target.patient())
    reference = f"Patient/{patient['id']}"
    mine = target.create(target.observation({"reference": reference}))
    target.create(target.observation({"reference": f"Patient/{other['id']}"}))
    for params in ({"subject": reference}, {"patient": reference}, {"_compartment": reference}):
        bundle = target.search("Observation", **params)
        assert [entry["resource"]["id"] for entry in bundle["entry"]] == [mine["id"]]
    assert "entry" not in target.search("Observation", encounter=reference)
    compartment = target.search("Patient", _compartment=reference)
    assert [entry["resource"]["id"] for entry in compartment["entry"]] == [patient["id"]]


def test_a_reference_from_outside_the_compartment_does_not_count(target: Target) -> None:
    patient = target.create(target.patient())
    reference = {"reference": f"Patient/{patient['id']}"}
    elsewhere = [{"url": "urn:mentioned", "valueReference": reference}]
    target.create(target.observation({"reference": f"Patient/{uuid.uuid4()}"}, extension=elsewhere))
    assert "entry" not in target.search("Observation", _compartment=reference["reference"])


def test_search_by_ordinary_parameters(target: Target) -> None:
    family = f"Q{uuid.uuid4().hex}"
    target.create(target.patient(gender="female", birthDate="1970-05-04", name=[{"family": family}]))
    target.create(target.patient(gender="male", birthDate="1980-05-04", name=[{"family": family}]))

    def count(**params: str) -> int:
        return int(target.search("Patient", identifier=f"{target.system}|", _summary="count", **params)["total"])

    assert count(family=family) == 2
    assert count(gender="female") == 1
    assert count(birthdate="lt1975-01-01") == 1
    assert count(birthdate="1980-05-04") == 1


def test_an_unknown_parameter_is_refused(target: Target) -> None:
    answer = target.get("Patient", params={"author": "Practitioner/1"})
    assert answer.status_code == 400


@pytest.mark.parametrize("parameter", ["_fields", "_elements"])
def test_fields_trim_a_resource(target: Target, parameter: str) -> None:
    patient = target.create(target.patient(gender="female"))
    bundle = target.search("Patient", identifier=target.key(patient), **{parameter: "identifier"})
    [resource] = [entry["resource"] for entry in bundle["entry"]]
    assert resource["id"] == patient["id"]
    assert resource["meta"]["versionId"] == patient["meta"]["versionId"]
    assert resource["identifier"] == patient["identifier"]
    assert "gender" not in resource
    assert "name" not in resource


def test_a_reference_is_found_by_its_exact_text(target: Target) -> None:
    patient = target.create(target.patient())
    place = f"Patient/{patient['id']}"
    forms = [place, f"{place}/_history/{patient['meta']['versionId']}", f"{target.base_url}fhir/R4/{place}"]
    target.types.add("Basic")
    note = {"resourceType": "Basic", "meta": target.meta(), "code": {"text": "note"}}
    made = [target.create(note | {"subject": {"reference": form}})["id"] for form in forms]
    target.create(note | {"extension": [{"url": "https://x.example", "valueReference": {"reference": place}}]})
    contained = {"resourceType": "Specimen", "id": "s", "subject": {"reference": place}}
    target.create(note | {"contained": [contained], "author": {"reference": "#s"}})
    for form, id_ in zip(forms, made, strict=True):
        assert [entry["resource"]["id"] for entry in target.search("Basic", subject=form)["entry"]] == [id_]


def test_history_is_newest_first_and_only_of_instances(target: Target) -> None:
    created = target.create(target.patient(gender="female"))
    url = f"Patient/{created['id']}"
    updated = target.put(url, json=created | {"gender": "male"}).json()
    history = target.get(f"{url}/_history", params={"_since": "2999-01-01"}).json()
    versions = [entry["resource"]["meta"]["versionId"] for entry in history["entry"]]
    assert versions == [updated["meta"]["versionId"], created["meta"]["versionId"]]
    second = target.get(f"{url}/_history", params={"_count": 1, "_offset": 1}).json()
    assert [entry["resource"]["meta"]["versionId"] for entry in second["entry"]] == versions[1:]
    old = target.get(f"{url}/_history/{created['meta']['versionId']}").json()
    assert old["gender"] == "female"
    assert target.get("Patient/_history").status_code in (400, 404)
    assert target.get("_history").status_code in (400, 404)


def test_read_back_equals_the_response(target: Target) -> None:
    patient = target.patient(
        name=[{"family": "Đặng Nguyễn-O’Neil 你好 🩺", "given": ["  spaced  "]}],
        birthDate="1970",
        meta=target.meta() | {"versionId": "1", "lastUpdated": "2001-01-01T00:00:00Z"},
    )
    created = target.create(patient)
    assert target.get(f"Patient/{created['id']}").json() == created
    assert created["meta"]["versionId"] != "1"
    assert created["meta"]["lastUpdated"] > "2020"
    kept = {name: value for name, value in patient.items() if name != "meta"}
    assert {name: created[name] for name in kept} == kept
    assert created["meta"]["tag"] == patient["meta"]["tag"]


def test_numbers_are_javascript_numbers(target: Target) -> None:
    observation = target.observation({"reference": f"Patient/{uuid.uuid4()}"})
    for sent, stored in (("1.500", "1.5"), ("1e3", "1000"), ("0.12345678901234567890", "0.12345678901234568")):
        body = json.dumps(observation | {"valueQuantity": {"value": 0}}).replace('"value": 0', f'"value": {sent}')
        headers = {"Content-Type": "application/fhir+json"}
        answer = target.post("Observation", content=body, headers=headers)
        assert answer.status_code == 201, answer.text
        assert f'"value":{stored}' in answer.text.replace('"value": ', '"value":')


def test_attachments_of_binaries_get_signed_urls(target: Target) -> None:
    target.types.add("DocumentReference")
    binary = target.post("Binary", content=b"scan", headers={"Content-Type": "text/plain"}).json()
    document = target.create(
        {
            "resourceType": "DocumentReference",
            "meta": target.meta(),
            "status": "current",
            "content": [{"attachment": {"contentType": "text/plain", "url": f"Binary/{binary['id']}"}}],
        }
    )
    url = document["content"][0]["attachment"]["url"]
    assert url.startswith("http")
    assert target.http.get(url, headers={"Authorization": ""}).content == b"scan"
    assert target.get(f"Binary/{binary['id']}").content == b"scan"
    target.delete(f"Binary/{binary['id']}")


def test_a_binary_is_read_by_its_id_and_never_searched(target: Target) -> None:
    binary = target.post("Binary", content=b"scan", headers={"Content-Type": "text/plain"}).json()
    for query in ("", f"?_id={binary['id']}", "?_tag=s|1"):
        assert target.get(f"Binary{query}").status_code == 400
    entry = {"request": {"method": "GET", "url": f"Binary/{binary['id']}"}}
    answer = target.post("", json={"resourceType": "Bundle", "type": "batch", "entry": [entry]}).json()
    assert answer["entry"][0]["resource"]["contentType"] == "text/plain"
    target.delete(f"Binary/{binary['id']}")


def test_an_upload_may_be_larger_than_a_body(target: Target) -> None:
    scan = bytes(range(256)) * 8_000
    binary = target.post("Binary", content=scan, headers={"Content-Type": "application/pdf"}).json()
    assert binary["contentType"] == "application/pdf"
    assert "data" not in binary
    assert target.get(f"Binary/{binary['id']}", headers={"Accept": "*/*"}).content == scan
    target.delete(f"Binary/{binary['id']}")


def test_what_has_no_identifier_is_found_by_its_tag(target: Target) -> None:
    target.types.add("Provenance")
    meta = target.meta()
    name = {"system": "https://contract.example/provenance", "code": f"{uuid.uuid4()},a|b"}
    resource = {
        "resourceType": "Provenance",
        "meta": {**meta, "tag": [name, *meta["tag"]]},
        "target": [{"display": "x"}],
        "recorded": "2020-01-01T00:00:00Z",
        "agent": [{"who": {"display": "x"}}],
    }
    made = target.create(resource)
    token = system_token(name["system"], name["code"])
    found = target.get("Provenance", params={"_tag": token, "_fields": "id,meta"}).json()
    assert [one["resource"]["id"] for one in found["entry"]] == [made["id"]]
    assert found["entry"][0]["resource"]["meta"]["tag"][0] == name
    assert found["entry"][0]["resource"]["resourceType"] == "Provenance"
    again = target.put(f"Provenance?_tag={quote(token)}", json={**resource, "recorded": "2021-01-01T00:00:00Z"})
    assert (again.status_code, again.json()["id"]) == (200, made["id"])


def test_one_thousand_keys_of_which_some_are_there(target: Target) -> None:
    entries = [create(target.patient(str(n))) for n in range(0, 100, 2)]
    target.batch(*entries)
    keys = ",".join(f"{target.system}|{n}" for n in range(1000))
    answer = target.post("Patient/_search", data={"identifier": keys, "_count": "1000"})
    assert answer.status_code == 200, text(answer.json())
    found = {entry["resource"]["identifier"][0]["value"] for entry in answer.json()["entry"]}
    assert found == {str(n) for n in range(0, 100, 2)}


def test_an_old_version_is_read_in_a_batch(target: Target) -> None:
    created = target.create(target.patient())
    url = f"Patient/{created['id']}"
    target.put(url, json=created | {"gender": "male"})
    names = [created["meta"]["versionId"], str(uuid.uuid4())]
    answers = target.batch(*({"request": {"method": "GET", "url": f"{url}/_history/{name}"}} for name in names))
    assert [answer["response"]["status"] for answer in answers] == ["200", "404"]
    assert answers[0]["resource"] == created


def test_a_query_of_a_batch_is_limited(target: Target) -> None:
    """65,000 characters pass everywhere; older servers may take more."""

    def status(length: int) -> str:
        query = f"identifier={target.system}|"
        search = {"request": {"method": "GET", "url": f"Patient?{query}{'x' * (length - len(query))}"}}
        answer = target.post("", json={"resourceType": "Bundle", "type": "batch", "entry": [search]}).json()
        return str(answer["entry"][0]["response"]["status"])

    assert status(65_000) == "200"
    if not target.live:
        assert status(70_001) == "400"
