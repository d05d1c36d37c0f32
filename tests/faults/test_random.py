"""The seeded simulator: faults, options, kills and a server's crash by lot; the end is always the same."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from embedded_medplum.server import EmbeddedMedplum
from tests.faults.conftest import SEEDS
from tests.faults.simulator import BATCH, LOOKUP, SEARCH, Ended, World

PAUSES = ("NotSettled", "MedplumUnavailable", "NotReached", "VerificationFailed", "Unauthorised", "WritesHidden")
"""How a run may stop while the faults last (a token may be revoked twice in a row); anything else is a bug."""


@pytest.fixture(scope="module")
def durable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedMedplum]:
    folder = tmp_path_factory.mktemp("durable")
    log = folder / "server.log"
    with EmbeddedMedplum(
        data=folder / "medplum.db", faults=True, quota=10**9, token_limit=10**9, log_file=log
    ) as medplum:
        yield medplum


def some_faults(dice: random.Random) -> list[dict[str, Any]]:
    kinds: list[dict[str, Any]] = [
        {"kind": "throttle", "ms_before_next": 20},
        {"kind": "entry-throttle", "ms_before_next": 20},
        {"kind": "entry-conflict"},
        {"kind": "entry-error"},
        {"kind": "error", "status": dice.choice([500, 502, 503]), **BATCH},
        {"kind": "error", "status": dice.choice([500, 502, 503]), **dice.choice([SEARCH, LOOKUP])},
        {"kind": "cut-before", **dice.choice([BATCH, SEARCH, LOOKUP])},
        {"kind": "cut-after", **BATCH},
        {"kind": "phantom", **BATCH},
        {"kind": "delay", "ms": 30},
        {"kind": "revoke-token"},
    ]
    chosen = dice.sample(kinds, dice.randint(0, 3))
    outage = {"kind": "entry-invalid", "next": dice.randint(1, 60), "skip": dice.randint(0, 60)}
    lot = [rule | {"probability": dice.uniform(0.02, 0.4), "seed": dice.randrange(10**6)} for rule in chosen]
    return [*lot, outage] if dice.random() < 0.3 else lot


def some_options(dice: random.Random) -> dict[str, Any]:
    return {
        "batch_size": dice.choice([1, 3, 7, 30, 200]),
        "slice_rows": dice.choice([4, 10, 25, 5_000]),
        "lanes": dice.choice([1, 2, 4]),
        "load_mode": dice.choice(["lookup", "lookup", "conditional"]),
    }


def some_kill(dice: random.Random) -> dict[str, Any]:
    """At a step or at a moment, or not at all."""
    return dice.choice([{"at": dice.randrange(80), "do": "kill"}, {"kill_after": dice.uniform(0.01, 0.8)}, {}])


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_happens_the_end_is_right(
    seed: int, durable: EmbeddedMedplum, make_world: Callable[..., World]
) -> None:
    dice = random.Random(seed)
    world, options = make_world(durable), some_options(dice)
    try:
        for _ in range(dice.randint(1, 4)):
            durable.inject(*some_faults(dice))
            allowed(world.do(options=options, every=dice.random() < 0.3, **some_kill(dice)))
            if dice.random() < 0.1:
                durable.kill()
                durable.start()
    finally:
        durable.inject()
    last = world.do(options=options)
    if "(could_not_check)" in last.error:  # it ended a verification that began while most requests failed, and says so
        last = world.do(options=options)
    assert (last.status, last.error) == (0, "")
    assert world.problems() == []
    assert world.do(run_id="again", options=some_options(dice)).status == 0
    assert world.problems("again") == []


def allowed(ended: Ended) -> None:
    assert ended.status in (0, 1, -9)
    assert not ended.error or ended.error.startswith(PAUSES), ended.error
