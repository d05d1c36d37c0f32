"""One flip there and back, act by act, on a real gate and a real access policy: the clients follow, and lose nothing.

What a switch does in order, without a switch: so that the clients are known to be right before they judge one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from demo_clinics.living.medplum_users import user
from embedded_medplum.server import EmbeddedMedplum
from medferry.cutover.routes import routing_of
from medferry.cutover.routing_file import publish
from medferry.definition.migration import load_migration
from medferry.medplum.client import MedplumClient
from medferry.source.changes.cuts import writing
from medferry.source.changes.engines import install
from medferry.source.changes.rules import KeyOf
from medferry.source.gate.engines import gate_of
from medferry.source.gate.gate import Gate
from tests import tiny_platform
from tests.cutover.routed_clients import Diary, FlagdFile, Follower, Stubborn, at_work
from tests.cutover.users_of_systems import LegacyTable, MedplumField
from tests.users import SECRET, Users

SYSTEM = "https://tiny.example/legacy/weight"
READS = ["read", "search", "history", "vread"]
WRITES = [*READS, "create", "update", "delete"]
PLAN = load_migration(str(tiny_platform.MIGRATION)).plan


def put(resource: dict[str, Any], value: int) -> None:
    resource["valueQuantity"] = {"value": value}


class Hand:
    """The acts of a switch on the unit north, and both systems of its users."""

    def __init__(self, url: str, folder: Path, users: Users, client: httpx.Client, policy: dict[str, Any]) -> None:
        self.engine = sa.create_engine(url)
        self.gate: Gate = gate_of(self.engine, PLAN.unit_ids, {"weight": KeyOf.of("", "unit")})
        self.file, self.users, self.policy = folder / "routing.json", users, policy
        self.legacy = LegacyTable(self.engine, "weight", "id", "kg")
        self.medplum = MedplumField(client, "Observation", SYSTEM, lambda of: int(of["valueQuantity"]["value"]), put)
        install(self.engine, self.gate)

    def allow(self, interactions: list[str]) -> None:
        entry = {"resourceType": "Observation", "interaction": interactions}
        self.policy["resource"] = [entry]
        self.users.put(self.policy)

    def publish(self) -> None:
        def decide() -> Any:
            with writing(self.engine, self.gate) as connection:
                return routing_of(PLAN, self.gate.all(connection))

        publish(self.file, decide)

    def copy_to_medplum(self, mine: set[str]) -> None:
        for key, value in self.legacy.all().items():
            if key in mine:
                resource = {
                    "resourceType": "Observation",
                    "status": "final",
                    "code": {"text": "weight"},
                    "identifier": [{"system": SYSTEM, "value": key}],
                    "valueQuantity": {"value": value},
                }
                path = f"Observation?identifier={SYSTEM}|{key}"
                [out] = self.users.admin.batch([{"resource": resource, "request": {"method": "PUT", "url": path}}], 100)
                assert out.status in (200, 201)

    def copy_to_legacy(self) -> None:
        """As the reverse feed does it, when the unit is shut in the legacy database."""
        values = self.medplum.all()
        with self.engine.begin() as connection:
            connection.execute(sa.text("UPDATE medferry_gate SET closing = 0 WHERE unit = 'north'"))
            for key, value in values.items():
                statement = sa.text("UPDATE weight SET kg = :value WHERE id = :key")
                connection.execute(statement, {"value": value, "key": int(key)})
            connection.execute(sa.text("UPDATE medferry_gate SET closing = 1 WHERE unit = 'north'"))


@pytest.fixture
def hand(tmp_path: Path) -> Iterator[Hand]:
    url = f"sqlite:///{tmp_path}/legacy.db"
    tiny_platform.fill(url)
    with (
        EmbeddedMedplum(quota=1_000_000) as server,
        MedplumClient(server.base_url, server.client_id, server.client_secret) as admin,
    ):
        users = Users(admin, server.base_url)
        policy = users.policy([{"resourceType": "Observation", "interaction": READS}])
        with user(server.base_url, users.member(policy["id"]), SECRET) as client:
            hand = Hand(url, tmp_path, users, client, policy)
            yield hand
            hand.engine.dispose()


def test_there_and_back(hand: Hand) -> None:
    diary, systems = Diary(), {"legacy": hand.legacy, "medplum": hand.medplum}
    with hand.engine.connect() as connection:
        keys = [
            str(key) for key in connection.scalars(sa.text("SELECT id FROM weight WHERE unit = 'north' ORDER BY id"))
        ]
    mine, stubborn = keys[:8], keys[8:9]
    hand.publish()
    route = FlagdFile(hand.file, "tiny", "all-other", "north")
    clients = [
        Follower(diary, "north", mine, systems, route=route),
        Stubborn(diary, "north", stubborn, systems, system="legacy"),
    ]

    def until(system: str, more: int, count: Callable[[str], int] = diary.count) -> None:
        wanted, patience = count(system) + more, time.monotonic() + 60
        while count(system) < wanted:
            assert time.monotonic() < patience and not diary.faults
            time.sleep(0.01)

    with at_work(clients):
        until("legacy", 10)
        hand.gate.close(hand.engine, "north", 0, 600, 30)
        hand.copy_to_medplum({*mine, *stubborn})
        hand.gate.shut(hand.engine, "north", 0)
        hand.allow(WRITES)
        hand.publish()
        until("medplum", 10)
        hand.allow(READS)
        until("medplum", 1, lambda system: diary.refusals[system])  # one user there: nothing of his is in flight now
        hand.copy_to_legacy()
        hand.gate.reopen(hand.engine, "north", 1)
        hand.publish()
        until("legacy", 10)
    assert diary.lost(hand.legacy.all()) == []
    assert diary.turns("north", "legacy") == 2
    assert diary.refusals["legacy"] > 0 and diary.refusals["medplum"] > 0
