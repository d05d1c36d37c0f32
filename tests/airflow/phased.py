"""Three clinics that are moved wave by wave: legacy on PostgreSQL, gates on both sides, and users at work in each."""

from __future__ import annotations

import base64
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
import yaml

from demo_clinics import database as servers
from demo_clinics.living.medplum_users import user
from embedded_medplum.server import EmbeddedMedplum
from medferry.cutover.acts import Act, Place
from medferry.cutover.gates import Gates
from medferry.definition.migration import load_migration
from medferry.errors import LeaseHeld, TransientError
from medferry.governance.forecast import score
from medferry.governance.readiness import GateName
from medferry.manifest import cutovers
from medferry.manifest.clock import seconds_between
from medferry.manifest.consents import Consent
from medferry.manifest.rehearsals import Measured, Rehearsal, record_rehearsal, rehearsals_of
from medferry.manifest.tables import decision
from medferry.plan.questions import wave_ids
from medferry.runtime.environment import Environment
from medferry.runtime.rehearsal import rehearsal_of
from medferry.runtime.settings import Settings, probe_variable
from medferry.source.changes.engines import install
from medferry.source.gate.engines import gate_of
from medferry.sync.cycle import cycle
from medferry.sync.reverse_cycle import back_cycle
from medferry.sync.sweeping import sweep_wave
from medferry.sync.wave import SyncedWave, synced_wave
from medferry.verification.run import verify_subject
from medferry.workflows.cutover import Choice, prepare
from medferry.workflows.readiness import accept, readiness
from medferry.workflows.readiness_facts import Facts
from medferry.workflows.routing import publish_routing
from medferry.workflows.verify_in_step import verify_present
from tests import tiny_platform
from tests.cutover.game_day import told
from tests.cutover.routed_clients import Client, Diary, FlagdFile, Follower, Stubborn, System, at_work
from tests.cutover.users_of_systems import LegacyTable, MedplumField
from tests.sync.conftest import CAPTURE, FREE, load
from tests.users import OPEN, SECRET, Users

WAVES = {"pilot": "north", "rest": "south", "late": "west"}
"""Wave → its unit."""
CLINICS = {"north": ("North", 1), "south": ("South", 2), "west": ("West", 5), "shared": ("Group", 3)}
"""Unit → name and key of its clinic."""
KEYS = {"north": range(101, 104), "south": range(201, 204), "west": range(301, 304)}
"""Unit → patients whom its users write."""
DIRT = (
    "DELETE FROM weight WHERE patient_id = 4",
    "DELETE FROM patient WHERE id BETWEEN 3 AND 7",
    "UPDATE patient SET clinic_id = 3 WHERE id = 8",
    "INSERT INTO clinic VALUES (5, 3, 'West')",
    "ALTER TABLE patient ADD PRIMARY KEY (id)",
)
ANSWERS = """
stakeholders:
  - {name: Ada, role: director, contact: ada@tiny.example, approves: [cutover, rollback, retire], airflow_user: admin}
  - {name: Ben, role: operations, contact: ben@tiny.example, approves: [cutover], airflow_user: deputy}
four_eyes: {acts: [cutover], hours: 24}
data_required: {domains: {all: [clinic, staff, patient, weight]}, history: All there is., excluded: {}}
downtime: {longest_freeze_minutes: 15}
tools: [{tool: The legacy application, becomes: Medplum's application, done: 2026-01-01}]
training: [{who: Desk, what: Charts, by: 2026-01-01, done: 2026-01-01}]
rollback: {window_days: 14, triggers: [A chart lacks an allergy.]}
legacy_writers: [{who: legacy, application: "*", what: The tests, accepted_by: Ada}]
readiness: {lag_p99_seconds: 600, open_transaction_seconds: 600}
timeline:
  zone: UTC
  waves:
"""
WINDOW = "    {wave}: {{opens: 2020-01-01 00:00:00, closes: 2099-01-01 00:00:00}}\n"


def plan_of(text: str, waves: Sequence[str]) -> str:
    """The tiny plan with a third clinic, all questions answered; without waves: the big bang."""
    text = text.replace(
        "  - {id: south, title: South clinic}\n", "  - {id: south, title: South clinic}\n  - {id: west, title: West}\n"
    )
    rest = "  - {id: rest, title: Rest, units: [south]}\n"
    head, _, tail = text.partition("waves:\n")
    tail = tail.partition(rest)[2]
    if waves == ["all"]:
        head = head.replace("strategy: phased", "strategy: big_bang")
        told = "big_bang: {accepted_by: Ada, reason: Three clinics are few.}\n"
    else:
        told = "waves:\n" + "".join(f"  - {{id: {wave}, units: [{WAVES[wave]}]}}\n" for wave in waves)
    return head + told + tail + ANSWERS + "".join(WINDOW.format(wave=wave) for wave in waves)


def put(resource: dict[str, Any], value: int) -> None:
    resource["name"] = [{"family": str(value)}]


def get(resource: dict[str, Any]) -> int:
    family = str(resource["name"][0]["family"])
    return int(family) if family.isdigit() else -1


@dataclass
class Phased:
    """The platform: its folder, its systems, its users' diary."""

    folder: Path
    settings: Settings
    diary: Diary = field(default_factory=Diary)
    waves: list[str] = field(default_factory=lambda: [*WAVES])
    medplum: dict[str, MedplumField] = field(default_factory=dict)
    """Unit → Medplum as its users have it."""
    clients: list[Client] = field(default_factory=list)
    work: ExitStack = field(default_factory=ExitStack)
    """Users are at work, and waves kept in step, until it is closed."""

    @property
    def migration(self) -> Path:
        return self.folder / "tiny"

    @cached_property
    def environment(self) -> Environment:
        """By the migration's files as they were when it was first asked for: see `anew`."""
        return Environment(load_migration(self.migration), self.settings)

    def anew(self) -> Environment:
        """By the files as they are now."""
        self.__dict__.pop("environment", None)
        return self.environment

    def variables(self) -> dict[str, str]:
        """What Airflow's processes get."""
        probes = {
            probe_variable(name, what): value
            for name, pair in self.settings.probes.items()
            for what, value in zip(("CLIENT_ID", "CLIENT_SECRET"), pair, strict=True)
        }
        return {
            **tiny_platform.variables(self.settings),
            **probes,
            "MEDFERRY_MIGRATION": str(self.migration),
            "MEDFERRY_REPORT_FOLDER": f"{self.folder}/reports",
            "MEDFERRY_EVIDENCE_FOLDER": f"{self.folder}/evidence",
            "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "1",
        }

    def places(self) -> dict[str, Place]:
        """Where each unit is written, by its gates."""
        environment = self.environment
        with environment.medplum() as client:
            return Gates(environment, client).places([*CLINICS])

    @cached_property
    def legacy(self) -> LegacyTable:
        return LegacyTable(sa.create_engine(self.settings.source_url, pool_size=8), "patient", "id", "family", 0.02)

    def freezes(self) -> list[float]:
        """Seconds in which a unit could be written nowhere, of each attempt that moved one."""
        found = []
        with self.environment.manifest.begin() as connection:
            numbers = sa.text("SELECT id FROM cutover WHERE direction <> 'prepare' ORDER BY id")
            for number in connection.scalars(numbers).all():
                at = {one.act: one for one in cutovers.acts_of(connection, cutovers.attempt(connection, number))}
                first = at.get(Act.CLOSE_LEGACY, at.get(Act.CLOSE_MEDPLUM))
                last = at.get(Act.OPEN_MEDPLUM, at.get(Act.REOPEN_LEGACY))
                if first and last and last.ended_at:
                    found.append(seconds_between(first.begun_at, last.ended_at))
        return found

    def forecasts(self) -> str:
        """Each freeze by its parts, what was forecast of it, and how good that was; in seconds."""
        freezes = Facts(self.environment, self.waves[0]).freezes
        return "\n".join([f"forecasts of freezes: {score(freezes)}", *map(told, reversed(freezes))])

    def approvals(self, of: str = "(cutover|rollback)/") -> list[str]:
        """What was approved, and by whom, in its order."""
        told = sa.select(decision.c.subject, decision.c.person).order_by(decision.c.id)
        with self.environment.manifest.begin() as connection:
            rows = connection.execute(told.where(decision.c.subject.regexp_match(f"^{of}"))).all()
        return [f"{subject}: {person}" for subject, person in rows]

    def rehearsal(self, wave: str) -> Rehearsal | None:
        """The newest of a wave."""
        with self.environment.manifest.begin() as connection:
            return next(iter(rehearsals_of(connection, "tiny", wave)), None)

    def pass_days(self, days: int) -> None:
        """Every attempt ended so much earlier."""
        at = (datetime.now(UTC) - timedelta(days=days)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        with self.environment.manifest.begin() as connection:
            connection.execute(sa.text("UPDATE cutover SET ended_at = :at WHERE ended_at IS NOT NULL"), {"at": at})

    def tables(self) -> set[str]:
        """Of the legacy database."""
        return {*sa.inspect(self.legacy.engine).get_table_names()}

    def staged(self) -> list[str]:
        """Folders of staged files that are left."""
        return [folder.name for folder in self.environment.staging_area.folders()]

    def final(self) -> dict[str, int]:
        """Every record's number in the system in which its unit is written."""
        places, found = self.places(), dict[str, int]()
        with self.legacy.engine.connect() as connection:
            rows = connection.execute(sa.text("SELECT id, unit, family FROM patient WHERE id > 100"))
            found |= {str(key): int(family) for key, unit, family in rows if places[unit] is Place.LEGACY}
        for unit, there in self.medplum.items():
            if places[unit] is Place.MEDPLUM:
                found |= there.all()
        return found


@contextmanager
def platform(folder: Path) -> Iterator[Phased]:
    """Filled, loaded, swept, with gates. Raises servers.BinariesMissing."""
    with ExitStack() as stack:
        url = stack.enter_context(servers.embedded()).url
        medplum = stack.enter_context(EmbeddedMedplum(quota=1_000_000_000, log_file=folder / "medplum.log"))
        tiny_platform.fill(url)
        shutil.copytree(tiny_platform.MIGRATION, folder / "tiny", ignore=shutil.ignore_patterns("__pycache__"))
        settings = Settings(
            source_url=url,
            legacy_writer_url=url,
            medplum_base_url=medplum.base_url,
            medplum_client_id=medplum.client_id,
            medplum_client_secret=medplum.client_secret,
            manifest_url=f"sqlite:///{folder}/manifest.db",
            staging_url=f"{folder}/staging",
            routing_file=f"{folder}/routing.json",
            evidence_key_file=f"{folder}/key",
            settle_seconds=1,
        )
        (folder / "key").write_text(base64.b64encode(b"k" * 32).decode())
        made = Phased(folder, settings)
        _write_files(made)
        with made.legacy.engine.begin() as connection:
            for statement in DIRT:
                connection.exec_driver_sql(statement)
            for unit, keys in KEYS.items():
                for key in keys:
                    row = f"({key}, '{unit}', {CLINICS[unit][1]}, '0', '1999-09-09', 'F', NULL)"
                    connection.exec_driver_sql(f"INSERT INTO patient VALUES {row}")
        yield made
        made.legacy.engine.dispose()


def _write_files(made: Phased) -> None:
    for mapping in (made.migration / "mappings").glob("*.py"):
        mapping.write_text(mapping.read_text().replace('owner="test",', 'owner="test", status="approved",'))
    (made.migration / "capture.yaml").write_text(CAPTURE)
    set_waves(made, [*WAVES])


def set_waves(made: Phased, waves: list[str]) -> None:
    """Write the plan anew; `all` is the one wave of a big bang."""
    made.waves = waves
    text = (tiny_platform.MIGRATION / "plan.yaml").read_text()
    (made.migration / "plan.yaml").write_text(plan_of(text, waves))


def bring_in_step(made: Phased, stack: ExitStack) -> None:
    """Loaded and swept, gates on both sides, nobody lets users into Medplum yet; the users of all clinics are known."""
    environment = made.anew()
    load(environment, None)
    admin = stack.enter_context(environment.medplum())
    _write_gates(made, Users(admin, made.settings.medplum_base_url))
    environment = made.anew()
    rules = environment.migration.gate
    assert rules
    install(environment.capture, synced_wave(environment, made.waves[0]).journal)
    install(environment.capture, gate_of(environment.capture, environment.migration.plan.unit_ids, rules.gated()))
    for wave in made.waves:
        prepare(environment, wave, Choice("A. Operator"))
    publish_routing(environment)
    made.clients = [client for unit in KEYS for client in _users_of(made, unit, stack)]


def _write_gates(made: Phased, users: Users) -> None:
    """One policy for each unit, and a user under it, who is also the probe."""
    organizations = {one["name"]: one["id"] for one in users.admin.search_all("Organization", [])}
    policies, probes = [], {}
    for unit, (name, _) in CLINICS.items():
        place = f"Organization/{organizations[name]}"
        policy = users.policy([OPEN | {"criteria": f"Patient?organization={place}"}])
        probes[unit] = (users.member(policy["id"]), SECRET)
        creates = {"resourceType": "Patient", "managingOrganization": {"reference": place}}
        policies.append({"policy": policy["id"], "unit": unit, "probe": unit, "creates": creates})
    rules = {
        "tables": {"patient": "unit", "weight": "unit"},
        "ungated": {"clinic": "kept by the group", "staff": "kept by the group"},
        "medplum": {"longest_request": 0.5, "policies": policies},
    }
    (made.migration / "gate.yaml").write_text(yaml.safe_dump(rules, sort_keys=False))
    made.settings = replace(made.settings, probes=probes)


def _users_of(made: Phased, unit: str, stack: ExitStack) -> list[Client]:
    """Two who follow the routing, and one who goes on in the legacy application whatever it says."""
    member, secret = made.settings.probes[unit]
    client: httpx.Client = stack.enter_context(user(made.settings.medplum_base_url, member, secret))
    system = made.environment.migration.naming.system("patient")
    made.medplum[unit] = MedplumField(client, "Patient", system, get, put)
    systems: dict[str, System] = {"legacy": made.legacy, "medplum": made.medplum[unit]}
    route = FlagdFile(Path(made.settings.routing_file), "tiny", "all-other", unit)
    first, second, third = map(str, KEYS[unit])
    only: dict[str, System] = {"legacy": made.legacy}
    return [
        Follower(made.diary, unit, [first], systems, pause=0.5, route=route),
        Follower(made.diary, unit, [second], systems, pause=0.5, route=route),
        Stubborn(made.diary, unit, [third], only, pause=0.5, system="legacy"),
    ]


def stage_of_rehearsals(made: Phased, stack: ExitStack) -> dict[str, str]:
    """Another Medplum, loaded by a manifest of its own and swept; returns the variables that name both."""
    medplum = stack.enter_context(EmbeddedMedplum(quota=1_000_000_000))
    variables = {
        "MEDFERRY_REHEARSAL_MANIFEST_URL": f"sqlite:///{made.folder}/rehearsal.db",
        "MEDFERRY_REHEARSAL_STAGING_URL": f"{made.folder}/rehearsal",
        "MEDFERRY_REHEARSAL_MEDPLUM_BASE_URL": medplum.base_url,
        "MEDFERRY_REHEARSAL_MEDPLUM_CLIENT_ID": medplum.client_id,
        "MEDFERRY_REHEARSAL_MEDPLUM_CLIENT_SECRET": medplum.client_secret,
    }
    other = rehearsal_of(made.environment, variables)
    load(other, None)
    sweep_wave(synced_wave(other, "pilot"), FREE)
    return variables


def make_ready(made: Phased) -> None:
    """What people do before the cutover of every wave: sweep, verify, rehearse, accept the schema."""
    environment = made.environment
    for wave in made.waves:
        sweep_wave(synced_wave(environment, wave), FREE)
    with made.legacy.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE patient SET family = family WHERE id > 100")  # a lag to be measured
    for wave in made.waves:
        cycle(synced_wave(environment, wave))
    verify_subject(environment)
    for wave in made.waves:
        with environment.manifest.begin() as connection:
            record_rehearsal(connection, "tiny", wave, Measured(12.0), environment.migration.fingerprint, "Ada")
        accept(environment, wave, GateName.SCHEMA, Consent.ACCEPTED, "Ada", "The mappings were read for it.")
        accept(environment, wave, GateName.SAFETY, Consent.ACCEPTED, "Ada", "No allergies are kept here.")
    for wave in made.waves:
        left = [gate for gate in readiness(environment, wave) if not gate.ok and gate.name != GateName.ORDER]
        assert not left, left


def rest(made: Phased) -> None:
    """Nobody is at work any more, and what was written is on both sides."""
    made.work.close()
    for wave in [*made.waves] * 2:  # what the first round writes back is in a cut of the second
        _cycles(synced_wave(made.environment, wave))


def prove(made: Phased) -> None:
    """As an operator does before another attempt, in a quiet minute: what is on its way then is not proven."""
    rest(made)
    verdict = verify_present(made.environment).verdict
    assert verdict.passed, verdict.text()
    begin_work(made)


def begin_work(made: Phased) -> None:
    """Until `made.work` is closed."""
    made.work.enter_context(_kept_in_step(made))
    made.work.enter_context(at_work(made.clients))


@contextmanager
def _kept_in_step(made: Phased) -> Iterator[None]:
    """What the schedule does beside, for all waves: both ways, as they are at each moment. Raises its fault."""
    over, faults = threading.Event(), list[BaseException]()

    def work() -> None:
        while not over.wait(1):
            environment = made.environment
            try:
                for wave in wave_ids(environment.migration.plan):
                    with suppress(TransientError, LeaseHeld):
                        _cycles(synced_wave(environment, wave))
            except BaseException as fault:  # noqa: BLE001 -- the test is told of it
                faults.append(fault)
                return

    beside = threading.Thread(target=work, daemon=True)
    beside.start()
    try:
        yield
    finally:
        over.set()
        beside.join(60)
    if faults:
        raise faults[0]


def _cycles(wave: SyncedWave) -> None:
    cycle(wave)
    back_cycle(wave)
