"""Ten flips there and back under load, on PostgreSQL and MariaDB: clients that follow the routing lose nothing.

For `make faults`: it takes minutes, and its clients need a machine that is not busy. Nothing is loaded anew in between.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from demo_clinics import database as servers
from demo_clinics.living.medplum_users import user
from medferry.cutover.acts import Act
from medferry.cutover.machine import NotFlipped, NotReturned, Outcome
from medferry.errors import LeaseHeld, TransientError, VerificationFailed
from medferry.manifest import cutovers
from medferry.manifest.clock import seconds_between
from medferry.runtime.environment import Environment
from medferry.source.changes.engines import install
from medferry.sync.cycle import cycle
from medferry.sync.reverse_cycle import back_cycle
from medferry.sync.sweeping import sweep_wave
from medferry.sync.wave import synced_wave
from medferry.workflows.cutover import Choice, CutoverBusy, cut_over, prepare, roll_back
from medferry.workflows.routing import publish_routing
from tests import tiny_platform
from tests.cutover.conftest import gated
from tests.cutover.routed_clients import Diary, FlagdFile, Follower, Stubborn, at_work
from tests.cutover.users_of_systems import LegacyTable, MedplumField
from tests.sync.conftest import FREE, load
from tests.users import SECRET, Users

ROUNDS = int(os.environ.get("MEDFERRY_GAME_DAY_ROUNDS", "0"))
"""Of two flips each."""
WHO = Choice("A. Operator", freeze=120.0, patience=30.0)
OURS = range(101, 109)
TRIES = 4


@dataclass
class GameDay:
    """The clinic north on a server, with its routing, and both systems of its users."""

    environment: Environment
    legacy: LegacyTable
    medplum: MedplumField
    file: Path

    @property
    def freezes(self) -> list[float]:
        """Seconds in which nobody could write, of every flip."""
        found = []
        with self.environment.manifest.begin() as connection:
            numbers = sa.text("SELECT id FROM cutover WHERE direction <> 'prepare' ORDER BY id")
            for number in connection.scalars(numbers).all():
                acts = cutovers.acts_of(connection, cutovers.attempt(connection, number))
                at = {one.act: one for one in acts}
                first, last = at.get(Act.CLOSE_LEGACY, at[Act.CLOSE_MEDPLUM]), acts[-1]
                ended = at.get(Act.OPEN_MEDPLUM, at.get(Act.REOPEN_LEGACY, last)).ended_at or first.begun_at
                found.append(seconds_between(first.begun_at, ended))
        return found


def put(resource: dict[str, Any], value: int) -> None:
    resource["name"] = [{"family": str(value)}]


def get(resource: dict[str, Any]) -> int:
    family = str(resource["name"][0]["family"])
    return int(family) if family.isdigit() else -1


@pytest.fixture(params=["postgresql", "mariadb"])
def day(request: pytest.FixtureRequest, captured: Environment, tmp_path: Path) -> Iterator[GameDay]:
    start = servers.embedded if request.param == "postgresql" else servers.mariadb
    with ExitStack() as stack:
        try:
            url = stack.enter_context(start()).url
        except servers.BinariesMissing as missing:
            pytest.skip(str(missing))
        tiny_platform.fill(url)
        settings = replace(captured.settings, source_url=url, routing_file=str(tmp_path / "routing.json"))
        environment = Environment(captured.migration, settings)
        with environment.source.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE patient ADD PRIMARY KEY (id)")
            for key in OURS:
                row = f"({key}, 'north', 1, '0', '1999-09-09', 'F', NULL)"
                connection.exec_driver_sql(f"INSERT INTO patient VALUES {row}")
        load(environment, None)
        wave = synced_wave(environment, "pilot")
        install(environment.capture, wave.journal)
        sweep_wave(wave, FREE)
        admin = stack.enter_context(environment.medplum())
        users = Users(admin, settings.medplum_base_url)
        made = gated(environment, users)
        member, _ = made.settings.probes["north"]
        client: httpx.Client = stack.enter_context(user(settings.medplum_base_url, member, SECRET))
        system = made.migration.naming.system("patient")
        legacy = LegacyTable(sa.create_engine(environment.source.url, pool_size=8), "patient", "id", "family", 0.02)
        yield GameDay(made, legacy, MedplumField(client, "Patient", system, get, put), tmp_path / "routing.json")
        legacy.engine.dispose()
        for engine in (environment.source, made.source, made.capture, made.legacy_writer):
            engine.dispose()


def keep_in_step(day: GameDay, over: threading.Event, faults: list[BaseException]) -> None:
    """What the schedule does beside: both ways, as they are at each moment."""
    while not over.wait(0.3):
        try:
            with suppress(TransientError, LeaseHeld):
                wave = synced_wave(day.environment, "pilot")
                cycle(wave)
                back_cycle(wave)
        except BaseException as fault:  # noqa: BLE001 -- the test is told of it
            faults.append(fault)
            return


def flip(day: GameDay, forth: bool) -> None:
    """As an operator does it: what was backed out of is tried again."""
    for _ in range(TRIES):
        with suppress(NotFlipped, NotReturned, CutoverBusy, VerificationFailed):
            done = (cut_over if forth else roll_back)(day.environment, "pilot", WHO)
            assert done is (Outcome.FLIPPED if forth else Outcome.RETURNED)
            return
    raise AssertionError("not flipped")


@pytest.mark.skipif(not ROUNDS, reason="a part of `make faults`")
@pytest.mark.timeout(3_600)
def test_ten_flips_there_and_back_lose_nothing(day: GameDay) -> None:
    diary, systems = Diary(), {"legacy": day.legacy, "medplum": day.medplum}
    prepare(day.environment, "pilot", WHO)
    publish_routing(day.environment)
    route = FlagdFile(day.file, "tiny", "all-other", "north")
    keys = [str(key) for key in OURS]
    clients = [
        Follower(diary, "north", keys[:3], systems, pause=0.05, route=route),
        Follower(diary, "north", keys[3:6], systems, pause=0.05, route=route),
        Stubborn(diary, "north", keys[6:], {"legacy": day.legacy}, pause=0.05, system="legacy"),
    ]
    over, faults = threading.Event(), list[BaseException]()
    beside = threading.Thread(target=keep_in_step, args=(day, over, faults), daemon=True)

    def until(system: str, more: int) -> None:
        wanted, patience = diary.count(system) + more, time.monotonic() + 120
        while diary.count(system) < wanted:
            assert time.monotonic() < patience and not diary.faults and not faults
            time.sleep(0.02)

    beside.start()
    try:
        with at_work(clients):
            for _ in range(ROUNDS):
                until("legacy", 6)
                flip(day, forth=True)
                until("medplum", 6)
                flip(day, forth=False)
            until("legacy", 6)
    finally:
        over.set()
        beside.join(60)
    assert faults == []
    final = {key: value for key, value in _all(day).items() if int(key) in OURS}
    assert diary.lost(final) == []
    assert diary.turns("north", "legacy") <= 2 * ROUNDS
    assert diary.refusals["legacy"] > 0
    seconds = sorted(day.freezes)
    sys.stdout.write(
        f"{len(diary.acknowledged)} writes, {len(seconds)} attempts; seconds without a writer: "
        f"median {seconds[len(seconds) // 2]:.1f}, longest {seconds[-1]:.1f}\n"
    )


def _all(day: GameDay) -> dict[str, int]:
    with day.legacy.engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT id, family FROM patient WHERE id > 100"))
        return {str(key): int(family) for key, family in rows}
