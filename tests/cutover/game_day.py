"""The clinic north on a server, PostgreSQL or MariaDB, with its routing and both systems as its users have them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from demo_clinics import database as servers
from demo_clinics.living.medplum_users import user
from medferry.cutover.acts import Act
from medferry.governance.forecast import score
from medferry.manifest import cutovers
from medferry.manifest.clock import seconds_between
from medferry.manifest.freezes import MeasuredFreeze
from medferry.manifest.held_back import held_back_of
from medferry.manifest.leftovers import leftovers
from medferry.manifest.unit_state import dead_now
from medferry.runtime.environment import Environment
from medferry.source.changes.engines import install
from medferry.sync.sweeping import sweep_wave
from medferry.sync.wave import synced_wave
from medferry.workflows.readiness_facts import Facts
from tests import tiny_platform
from tests.cutover.conftest import gated
from tests.cutover.users_of_systems import LegacyTable, MedplumField
from tests.sync.conftest import FREE, load
from tests.users import SECRET, Users

ROUNDS = int(os.environ.get("MEDFERRY_GAME_DAY_ROUNDS", "0"))
"""Of two flips each; none: the game day is a part of `make faults`."""
OURS = range(101, 109)


def told(one: MeasuredFreeze) -> str:
    """A freeze by its parts, with the amounts of work, and its forecast; in seconds."""
    return (
        f"  {one.seconds:.2f} = drain {one.drain:.2f} + catch up {one.catch_up:.2f} ({one.caught_up}) + check "
        f"{one.check:.2f} ({one.checked}) + flip {one.flip:.2f} + waits {one.waits:.2f}; forecast {one.forecast}"
    )


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

    @property
    def forecasts(self) -> str:
        """What the freezes took and what was forecast of them, and how good that was; in seconds."""
        freezes = Facts(self.environment, "pilot").freezes
        return "\n".join([f"forecasts of freezes: {score(freezes)}", *map(told, reversed(freezes))])

    @property
    def astray(self) -> list[str]:
        """What is not as it should be, for whoever looks for the reason. By key and place; the values are numbers."""
        migration = self.environment.migration
        name, units = migration.name, migration.plan.unit_ids
        with self.environment.manifest.begin() as connection:
            found = [*dead_now(connection, name, units), *held_back_of(connection, name, units)]
        pages = leftovers(self.environment.manifest, name, migration.slots, units)
        return [*map(str, found), *(str(one) for page in pages for one in page)]

    @property
    def in_legacy(self) -> dict[str, int]:
        """The clients' own patients → what the legacy database has of them."""
        with self.legacy.engine.connect() as connection:
            rows = connection.execute(sa.text("SELECT id, family FROM patient WHERE id > 100"))
            return {str(key): int(family) for key, family in rows}

    @property
    def in_medplum(self) -> dict[str, int]:
        """The same in Medplum."""
        return {key: value for key, value in self.medplum.all().items() if int(key) in OURS}


def put(resource: dict[str, Any], value: int) -> None:
    resource["name"] = [{"family": str(value)}]


def get(resource: dict[str, Any]) -> int:
    family = str(resource["name"][0]["family"])
    return int(family) if family.isdigit() else -1


@pytest.fixture(params=["postgresql", "mariadb"])
def day(request: pytest.FixtureRequest, captured: Environment, tmp_path: Path) -> Iterator[GameDay]:
    """North on a server, in step and gated on both sides, with eight patients of the clients' own."""
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
