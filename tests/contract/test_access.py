"""A client's access policy: what it may not write is 403, from the next request on; the embedded server alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from embedded_medplum.server import EmbeddedMedplum
from medferry.definition.access import access_policy
from medferry.definition.migration import load_migration
from medferry.medplum.client import MedplumClient
from medferry.medplum.errors import NotFound, Unauthorised
from tests.contract.target import Target
from tests.users import OPEN, Users

Resource = dict[str, Any]
NORTH = "00000000-0000-4000-8000-00000000000a"


def patient(organization: str = NORTH, **members: Any) -> Resource:
    return {
        "resourceType": "Patient",
        "managingOrganization": {"reference": f"Organization/{organization}"},
        "identifier": [{"system": "https://x", "value": organization[-1]}],
        **members,
    }


@pytest.fixture
def users(medplum: EmbeddedMedplum) -> Iterator[Users]:
    with MedplumClient(medplum.base_url, medplum.client_id, medplum.client_secret) as admin:
        yield Users(admin, medplum.base_url)


def statuses(client: MedplumClient, *entries: Resource) -> list[int]:
    return [outcome.status for outcome in client.batch(list(entries), 100)]


def create(resource: Resource) -> Resource:
    return {"resource": resource, "request": {"method": "POST", "url": resource["resourceType"]}}


def test_what_no_entry_allows_is_refused_from_the_next_request_on(users: Users) -> None:
    policy = users.policy([OPEN | {"criteria": f"Patient?organization=Organization/{NORTH}"}])
    with users.client(users.member(policy["id"])) as client:
        other = NORTH.replace("a", "b")
        assert statuses(client, create(patient()), create(patient(other)), create({"resourceType": "Basic"})) == [
            201,
            403,
            403,
        ]
        users.put(policy | {"resource": [policy["resource"][0] | {"interaction": ["read", "search"]}]})
        assert statuses(client, create(patient())) == [403]
        [seen] = client.search_all("Patient", [])
        moved = {**seen, "birthDate": "2000-01-01"}
        put = {"resource": moved, "request": {"method": "PUT", "url": f"Patient/{seen['id']}"}}
        delete = {"request": {"method": "DELETE", "url": f"Patient/{seen['id']}"}}
        assert statuses(client, put, delete) == [403, 403]


def test_what_may_not_be_seen_is_not_there(users: Users) -> None:
    other = NORTH.replace("a", "b")
    assert statuses(users.admin, create(patient(other))) == [201]
    [unseen] = users.admin.search_all("Patient", [])
    policy = users.policy([OPEN | {"criteria": f"Patient?organization=Organization/{NORTH}"}])
    with users.client(users.member(policy["id"])) as client:
        assert not client.is_there("Patient", unseen["id"])
        assert list(client.search_all("Patient", [])) == []
        with pytest.raises(Unauthorised):
            client.search("Basic", [])


def test_a_client_is_the_author_of_what_it_writes(users: Users) -> None:
    name = users.member(users.policy([OPEN])["id"])
    with users.client(name) as client:
        assert client.profile() == f"ClientApplication/{name}"
        assert statuses(client, create(patient())) == [201]
    [made] = users.admin.search_all("Patient", [])
    [entry] = users.admin.history("Patient", made["id"])
    assert entry["resource"]["meta"]["author"] == {"reference": f"ClientApplication/{name}"}
    assert "author" not in made["meta"]
    same = {"resource": made, "request": {"method": "PUT", "url": f"Patient/{made['id']}"}}
    with users.client(name) as client:
        assert statuses(client, same) == [200]
    assert len(users.admin.history("Patient", made["id"])) == 1


def test_who_has_no_membership_may_do_nothing_and_a_wrong_secret_gets_no_token(users: Users) -> None:
    [stranger] = users.admin.batch([create({"resourceType": "ClientApplication", "secret": "s" * 20})], 100)
    with users.client(stranger.id, "s" * 20) as client:
        assert statuses(client, create(patient())) == [403]
    with users.client(stranger.id, "wrong") as client, pytest.raises(Unauthorised):
        client.search("Patient", [])
    with pytest.raises(NotFound):
        users.admin.history("Patient", NORTH)


def test_the_policy_that_is_made_of_a_migration_is_a_valid_resource(target: Target) -> None:
    policy = access_policy(load_migration("clinics"), deletes=True)
    answer = target.post("AccessPolicy/$validate", json=policy)
    assert answer.status_code == 200, answer.text
    wrong = {**policy, "resource": [{**policy["resource"][0], "interaction": "create"}]}
    assert target.post("AccessPolicy/$validate", json=wrong).status_code == 400
