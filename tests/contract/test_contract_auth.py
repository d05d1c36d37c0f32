"""The token endpoint and bearer tokens."""

import time

import httpx
import pytest

from tests.contract.target import Target, text


def ask(target: Target, secret: str | None = None, **arguments) -> httpx.Response:
    form = {
        "grant_type": "client_credentials",
        "client_id": target.client_id,
        "client_secret": secret or target.client_secret,
    }
    return httpx.post(f"{target.base_url}oauth2/token", **(arguments or {"data": form}))


def test_token_by_form_and_by_basic(target: Target) -> None:
    by_form = ask(target)
    by_basic = ask(target, data={"grant_type": "client_credentials"}, auth=(target.client_id, target.client_secret))
    for answer in (by_form, by_basic):
        assert answer.status_code == 200
        assert answer.json()["token_type"] == "Bearer"
        assert 0 < answer.json()["expires_in"] <= 3600
        headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        assert httpx.get(f"{target.base_url}fhir/R4/Patient?_count=1", headers=headers).status_code == 200


def test_wrong_credentials_are_400(target: Target) -> None:
    wrong_secret = ask(target, secret="wrong")
    wrong_basic = ask(target, data={"grant_type": "client_credentials"}, auth=(target.client_id, "wrong"))
    for answer in (wrong_secret, wrong_basic):
        assert answer.status_code == 400
        assert answer.json()["error"] == "invalid_request"


def test_a_json_body_is_400(target: Target) -> None:
    form = {"grant_type": "client_credentials", "client_id": target.client_id, "client_secret": target.client_secret}
    assert ask(target, json=form).status_code == 400


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Bearer a.b.c"}])
def test_a_missing_or_bad_bearer_is_401(target: Target, headers: dict) -> None:
    answer = httpx.get(f"{target.base_url}fhir/R4/Patient", headers=headers)
    assert answer.status_code == 401
    assert answer.json()["issue"][0]["code"] == "login"


def test_a_token_expires(embedded) -> None:
    _, target = embedded(expires_in=1)
    assert ask(target).json()["expires_in"] == 1
    time.sleep(1.1)
    answer = target.get("Patient")
    assert answer.status_code == 401
    assert answer.json()["issue"][0]["code"] == "login"


def test_a_token_outlives_a_restart(embedded) -> None:
    server, target = embedded()
    server.restart()
    assert target.get("Patient").status_code == 200


def test_the_token_endpoint_is_limited(embedded) -> None:
    _, target = embedded(token_limit=5)  # one is spent by the connection
    assert [ask(target).status_code for _ in range(6)] == [200] * 4 + [429] * 2
    assert target.get("Patient").status_code == 200


def test_health_and_metadata_need_no_token(target: Target) -> None:
    assert httpx.get(f"{target.base_url}healthcheck").json()["ok"] is True
    metadata = httpx.get(f"{target.base_url}fhir/R4/metadata").json()
    assert (metadata["resourceType"], metadata["fhirVersion"]) == ("CapabilityStatement", "4.0.1")


def test_the_author_is_shown_only_when_asked_for(target: Target) -> None:
    created = target.create(target.patient())
    url = f"Patient/{created['id']}"
    assert not {"author", "project"} & target.get(url).json()["meta"].keys()
    extended = target.get(url, headers={"X-Medplum": "extended"}).json()["meta"]
    assert extended["author"]["reference"] == ask(target).json()["profile"]["reference"]
    assert extended["project"]


def test_an_unknown_path_is_404(target: Target) -> None:
    assert target.get("Nonsense/1/2/3/4").status_code == 404
    outcome = target.get("Patient/00000000-0000-4000-8000-000000000000").json()
    assert text(outcome) == "Not found"
