"""All clients of one environment present one token: a server that gives no more than they may need is the witness."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import pytest

from embedded_medplum.server import EmbeddedMedplum
from medferry.medplum.client import MedplumClient
from medferry.medplum.errors import NotReached, Throttled
from medferry.medplum.oauth import SharedToken, TokenSource
from medferry.runtime.environment import Environment

CLIENTS = 24


@pytest.fixture(scope="module")
def frugal() -> Iterator[EmbeddedMedplum]:
    with EmbeddedMedplum(faults=True, token_limit=2) as server:
        yield server


@pytest.fixture
def environment(tiny: Environment, frugal: EmbeddedMedplum) -> Environment:
    frugal.reset()
    return Environment(tiny.migration, replace(tiny.settings, medplum_base_url=frugal.base_url))


def count_in(environment: Environment) -> int:
    with environment.medplum() as client:
        return client.count("Patient")


def at_once(work: Callable[[], object]) -> None:
    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(work) for _ in range(CLIENTS)]:
            done.result()


def test_many_clients_in_many_threads_ask_for_one_token_and_for_one_more_when_it_is_refused(
    environment: Environment, frugal: EmbeddedMedplum
) -> None:
    at_once(lambda: count_in(environment))
    frugal.inject({"kind": "revoke-token", "next": 1})
    at_once(lambda: count_in(environment))
    assert count_in(environment.of(environment.migration)) == 0  # another view is of the same environment
    other = Environment(environment.migration, environment.settings)
    with other.medplum() as client, pytest.raises(Throttled):  # the two that there were are spent
        client.project(patient=False)


def test_a_client_with_other_credentials_has_a_token_of_its_own(
    environment: Environment, frugal: EmbeddedMedplum
) -> None:
    assert count_in(environment) == 0
    with environment.medplum() as admin, MedplumClient(frugal.base_url, frugal.client_id, frugal.client_secret) as own:
        assert own.project(patient=False) == admin.project(patient=False)
        assert own._tokens.token() != admin._tokens.token()


def test_another_server_in_the_place_of_the_first_is_not_taken_for_it(
    environment: Environment, frugal: EmbeddedMedplum
) -> None:
    """Its token would say the first one's project, and what is written went to another than the one looked at."""
    with environment.medplum() as client:
        first = client.project()
    frugal.reset()
    with environment.medplum() as client:
        assert client.project() not in ("", first)
    assert count_in(environment) == 0


class Endpoint:
    """A token endpoint that counts, and fails as often as it is told."""

    def __init__(self) -> None:
        self.given, self.failing, self.now = 0, 0, 0.0

    def source(self, shared: SharedToken) -> TokenSource:
        http = httpx.Client(base_url="http://medplum/", transport=httpx.MockTransport(self._answer))
        return TokenSource(http, "id", "secret", shared, lambda: self.now)

    def _answer(self, _: httpx.Request) -> httpx.Response:
        if self.failing:
            self.failing -= 1
            raise httpx.ConnectError("away")
        self.given += 1
        return httpx.Response(200, json={"access_token": f"t{self.given}", "expires_in": 3_600})


def test_a_token_is_replaced_once_shortly_before_it_expires() -> None:
    endpoint, shared = Endpoint(), SharedToken()
    assert {endpoint.source(shared).token() for _ in range(3)} == {"t1"}
    endpoint.now = 3_569.0
    assert endpoint.source(shared).token() == "t1"
    endpoint.now = 3_570.0
    assert {endpoint.source(shared).token() for _ in range(3)} == {"t2"}


def test_whoever_is_late_with_a_refused_token_gets_the_one_that_took_its_place() -> None:
    endpoint, shared = Endpoint(), SharedToken()
    first, second = endpoint.source(shared), endpoint.source(shared)
    refused = first.token()
    assert first.token(refused) == second.token(refused) == second.token() == "t2"


def test_a_client_that_reached_nobody_leaves_the_others_free_to_ask() -> None:
    endpoint, shared = Endpoint(), SharedToken()
    endpoint.failing = 1
    with pytest.raises(NotReached):
        endpoint.source(shared).token()
    assert endpoint.source(shared).token() == "t1"
    assert "t1" not in repr(shared)
