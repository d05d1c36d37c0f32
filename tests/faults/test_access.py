"""Tokens that run out, tokens and secrets that are revoked in the middle of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from embedded_medplum.server import EmbeddedMedplum
from tests.faults.checker import read_ledger
from tests.faults.expected import expected
from tests.faults.simulator import BATCH, World

SMALL = {"batch_size": 3, "slice_rows": 10, "lanes": 1}


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedMedplum]:
    """A server whose tokens live one second, and which outlives a restart."""
    folder = tmp_path_factory.mktemp("strict")
    with EmbeddedMedplum(
        data=folder / "medplum.db",
        faults=True,
        quota=10**9,
        token_limit=10**9,
        expires_in=1,
        log_file=folder / "server.log",
    ) as medplum:
        yield medplum


def token_requests(steps: list[str]) -> int:
    return sum("oauth2" in step for step in steps)


def test_tokens_that_run_out_are_renewed_unseen(strict: EmbeddedMedplum, make_world: Callable[..., World]) -> None:
    world = make_world(strict)
    strict.inject({"kind": "delay", "ms": 250, "every": 1, **BATCH})
    ended = world.do(options={"batch_size": 5, "lanes": 1}, every=True)
    strict.inject()
    assert (ended.status, ended.error) == (0, "")
    clients = 5  # one for each of the four slices, one for the verification
    assert token_requests(ended.steps) > clients
    assert world.problems() == []


def test_tokens_that_are_revoked_are_renewed_unseen(world: World) -> None:
    world.server.inject({"kind": "revoke-token", "probability": 0.2, "seed": 1})
    ended = world.do(options=SMALL, every=True)
    world.server.inject()
    assert (ended.status, ended.error) == (0, "")
    assert world.problems() == []


def test_a_secret_revoked_in_mid_run_pauses_the_run_and_fails_no_record(
    strict: EmbeddedMedplum, make_world: Callable[..., World]
) -> None:
    world = make_world(strict)
    old = strict.client_secret
    with world.paused("batch 3", options=SMALL, fast=False) as ended:
        strict.stop()
        strict.client_secret = "new-secret"
        strict.start()
        strict.inject({"kind": "revoke-token", "next": 1})
    [stopped] = ended
    assert stopped.status == 1
    assert stopped.error.startswith("Unauthorised: Medplum refused the client id and secret")
    assert "run again" in stopped.error and old not in stopped.error
    wanted = expected(world.source, world.base, world.name).dispositions
    for entity, key, disposition, reason in read_ledger(world.scene(), "r").units:
        assert disposition == "pending" or (disposition, reason) == wanted[entity, key]
    assert world.do(options=SMALL).status == 0
    assert world.problems() == []
    strict.client_secret = old
