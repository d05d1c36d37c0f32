"""A process that moves a unit is killed at each act: ``python -m tests.simulator.cutover kills FIRST STEP [LEGACY]``.

Users write wherever they may, between any two acts. Checked before each act: no unit can be written in both systems.
At the end, when another process has gone on, at once or after the freeze of the dead one was over: every write that was
acknowledged is where the unit is written. The legacy database is in SQLite, a new one for each kill, or the server at
the URL LEGACY, whose one world goes on. It prints what went wrong, a line each, and ends with 1 then.
``… planted FIRST STEP [LEGACY]`` prints the planted faults that nobody finds.
"""

# ruff: noqa: E402 -- the clock comes before whatever keeps one
from __future__ import annotations

from tests.simulator import clock

clock.begin()

import logging
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import httpx
import orjson
import psycopg
import pymysql
import sqlalchemy as sa

from medferry.cutover import switch as switching
from medferry.cutover.acts import Act
from medferry.cutover.machine import NotFlipped, NotReturned, Outcome
from medferry.cutover.switch import Switch
from medferry.definition.gate import GateRules
from medferry.errors import MedferryError
from medferry.manifest import cutovers
from medferry.manifest.database import open_manifest
from medferry.medplum import requests
from medferry.medplum.access_policy import lets_write
from medferry.plan.authority import AuthorityMatrix
from medferry.runtime.environment import Environment
from medferry.source.changes.engines import install
from medferry.source.gate.engines import gate_of
from medferry.source.gate.gate import GATE
from medferry.sync.cycle import cycle
from medferry.sync.reverse_cycle import back_cycle
from medferry.sync.wave import synced_wave
from medferry.workflows import cutover, cutover_proof
from medferry.workflows.cutover import Choice, cut_over, prepare, roll_back
from tests.cutover.conftest import GATED
from tests.simulator.acts import Acts, Killed
from tests.simulator.engines import open_world
from tests.simulator.http import Wire
from tests.simulator.medplum import CLIENT, Medplum, Resource
from tests.simulator.schedule import MEMORY
from tests.simulator.world import WAVE, Template, World, template, watch, world

POLICY, PROBE, USER = "the-policy", "probe", "ClientApplication/probe"
KEYS = (1, 2)
WHO = Choice("A. Operator", freeze=3_600.0, patience=1.0)
EVERY = 7
"""Users write between so many acts."""
NEVER = 10_000
"""No way has so many acts."""
SMALL = 4
"""Acts between two kills."""


class GatedWire(Wire):
    """Who has another token than the program is held to the users' policy."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("token"):
            self.watch.acts.before("token")
            client = parse_qs(request.read().decode())["client_id"][0]
            return httpx.Response(200, json={"access_token": client, "expires_in": 3600})
        if request.headers["Authorization"] == f"Bearer {PROBE}":
            self.watch.acts.before("probe")
            bundle = orjson.loads(request.read())
            if not users_may_write(self.medplum):
                refused = [{"response": {"status": "403", "outcome": {"resourceType": "OperationOutcome"}}}]
                return httpx.Response(200, json={"resourceType": "Bundle", "entry": refused})
            return httpx.Response(200, json=self.medplum.batch(bundle, USER))
        answer = super().handle_request(request)
        answer.headers["Date"] = "Thu, 01 Jan 2026 00:00:00 GMT"
        return answer


def users_may_write(medplum: Medplum) -> bool:
    body = medplum.versions["AccessPolicy", POLICY][-1].body
    assert body is not None
    return any(lets_write(entry) for entry in body["resource"] if entry["resourceType"] == "Patient")


_REFUSED = (sqlite3.Error, psycopg.Error, pymysql.MySQLError)
"""By the gate, or since others hold a lock."""


def let_pass(world: World) -> None:
    """The time of a freeze, on the legacy clock."""
    day = "1" if world.settings.source_url.startswith("sqlite") else "INTERVAL '1' DAY"
    passed = f"UPDATE {GATE} SET closed_until = closed_until - {day} WHERE unit = 'north' AND closing"
    world.legacy.execute(f"{passed} AND closed_until IS NOT NULL")


@dataclass
class Users:
    """Who writes wherever it is allowed; `last` is what was acknowledged last of each patient."""

    world: World
    last: dict[int, str] = field(default_factory=dict)
    number: int = 0
    both: list[str] = field(default_factory=list)

    def between(self, number: int, name: str) -> None:
        """Before each act of the program."""
        if users_may_write(self.world.medplum) and self.legacy_is_open():
            self.both.append(f"both are open before act {number} ({name})")
        if number % EVERY == 0:
            self.write()

    def write(self) -> None:
        for key in KEYS:
            self.number += 1
            name = f"n{self.number}"
            if self._in_medplum(key, name) or self._in_legacy(key, name):
                self.last[key] = name

    def legacy_is_open(self) -> bool:
        """By a write that is taken back: nobody else says who may."""
        self.world.legacy.execute("BEGIN")
        try:
            return self._in_legacy(KEYS[0], "nobody")
        finally:
            self.world.legacy.execute("ROLLBACK")

    def _in_legacy(self, key: int, name: str) -> bool:
        try:
            self.world.legacy.execute(f"UPDATE patient SET family = '{name}' WHERE id = {key}")
        except _REFUSED:
            return False
        return True

    def _in_medplum(self, key: int, name: str) -> bool:
        if not users_may_write(self.world.medplum):
            return False
        id_, body = self.patient(key)
        entry = {
            "resource": {**body, "name": [{"family": name}]},
            "request": {"method": "PUT", "url": f"Patient/{id_}"},
        }
        [answer] = self.world.medplum.batch({"entry": [entry]}, USER)["entry"]
        return bool(answer["response"]["status"] == "200")

    def patient(self, key: int) -> tuple[str, Resource]:
        system = self.world.migration.naming.system("patient")
        [(id_, versions)] = self.world.medplum.named("Patient", {"system": system, "value": str(key)})
        assert versions[-1].body is not None
        return id_, versions[-1].body

    def stored(self, key: int, medplum: bool) -> str:
        if medplum:
            return str(self.patient(key)[1]["name"][0]["family"])
        return str(self.world.legacy.execute(f"SELECT family FROM patient WHERE id = {key}").fetchone()[0])


def gated(one: World) -> World:
    """The world with gates on both sides; its users are one, who is the probe as well."""
    creates = {"resourceType": "Patient", "identifier": [{"system": "https://probe.example", "value": "1"}]}
    policies = [{"policy": POLICY, "unit": "north", "probe": PROBE, "creates": creates}]
    ungated = {"clinic": "kept by the group", "staff": "kept by the group"}
    rules = {"tables": GATED, "ungated": ungated, "medplum": {"longest_request": 20, "policies": policies}}
    gate = GateRules.model_validate(rules)
    plan = one.migration.plan.model_copy(update={"authority": AuthorityMatrix()})
    settings = replace(one.settings, probes={PROBE: (PROBE, "secret")})
    wire = GatedWire(one.medplum, one.watch)
    requests.open_http = lambda base_url, _: httpx.Client(base_url=base_url, transport=wire)  # type: ignore[assignment]
    return replace(one, settings=settings, migration=replace(one.migration, plan=plan, gate=gate), wire=wire)


@contextmanager
def process(one: World, acts: Acts) -> Iterator[Environment]:
    """A process of the program, with its own memory."""
    environment = Environment(one.migration, one.settings)
    one.watch.acts = acts
    try:
        yield environment
    finally:
        one.watch.acts = Acts()
        for name in ("source", "capture", "legacy_writer"):
            if name in vars(environment):
                getattr(environment, name).dispose()


LATE = "forth, when the freeze is over"
AFTER = {"forth": ("forth", "back", LATE), "back": ("back", "forth")}
"""Way → who may come when it was killed."""

Way = Callable[[Environment], Outcome]
Done = Callable[[Switch], str]
WAYS: dict[str, Way] = {
    "forth": lambda environment: cut_over(environment, WAVE, WHO),
    "back": lambda environment: roll_back(environment, WAVE, WHO),
}


Worlds = Callable[[], AbstractContextManager[World]]
"""The world of the next kill."""


@contextmanager
def copies(of: Template, folder: Path) -> Iterator[World]:
    """A new one, in SQLite."""
    one = gated(world(of, folder))
    yield one
    one.close()


@contextmanager
def worlds_on(legacy_url: str, folder: Path) -> Iterator[Worlds]:
    """One that goes on, on a server; copies in SQLite where none is named."""
    if not legacy_url:
        of = template(folder)
        yield lambda: copies(of, folder / "world")
        return
    one = gated(open_world(folder, Medplum(clock.clock.tick, clock.instant), legacy_url))
    yield lambda: nullcontext(one)
    one.close()


def begun(one: World, way: str) -> Users:
    """Bring a world to where the way can begin, with writes that are not on the other side yet."""
    if ("AccessPolicy", POLICY) not in one.medplum.versions:
        body = {"resourceType": "AccessPolicy", "resource": [{"resourceType": "Patient"}, {"resourceType": "Task"}]}
        one.medplum._add("AccessPolicy", POLICY, body, CLIENT)
    users = Users(one)
    with process(one, Acts()) as environment:
        rules = one.migration.gate
        assert rules is not None
        install(environment.capture, gate_of(environment.capture, one.migration.plan.unit_ids, rules.gated()))
        if not users.legacy_is_open():
            WAYS["back"](environment)
        prepare(environment, WAVE, WHO)
        users.write()
        if way == "back":
            WAYS["forth"](environment)
            users.write()
            back_cycle(synced_wave(environment, WAVE))
            users.write()
    return users


def killed_at(one: World, way: str, number: int, after: str) -> tuple[list[str], bool]:
    """What is wrong when the way is killed before its act `number`, and `after` is run; whether it was killed."""
    users = begun(one, way)
    acts, problems, killed = Acts(number, users.between), list[str](), False
    try:
        with process(one, acts) as environment:
            WAYS[way](environment)
    except Killed:
        killed = True
    users.write()
    if after == LATE:
        problems += overdue(one, users)
    outcome = None
    try:
        with process(one, Acts(None, users.between)) as environment:
            outcome = _to_its_end(environment, after)
            users.write()
            medplum = outcome is Outcome.FLIPPED
            if users_may_write(one.medplum) is not medplum or users.legacy_is_open() is medplum:
                problems.append(f"the gates do not say {outcome}")
        with process(one, Acts()) as environment:  # nobody writes any more
            wave = synced_wave(environment, WAVE)
            cycle(wave)
            back_cycle(wave)
            cycle(wave)
        for key, name in users.last.items():
            found = {users.stored(key, True), users.stored(key, False)}
            if found != {name}:
                problems.append(f"patient {key} was {name} at last, and is {', '.join(sorted(found))}")
    except MedferryError as error:
        problems.append(f"{type(error).__name__}: {error}")
    names = acts.names[number] if number < len(acts.names) else "not at all"
    return [f"{way}, killed at {number} ({names}), then {after}: {told}" for told in (*users.both, *problems)], killed


def overdue(one: World, users: Users) -> Iterator[str]:
    """Nobody comes until the time of a freeze is over: what is wrong then. Unless it was too late to thaw by itself."""
    let_pass(one)
    users.between(len(users.last), "the time of the freeze is over")
    users.write()
    with open_manifest(one.settings.manifest_url).begin() as connection:
        [newest] = cutovers.newest_attempts(connection, one.migration.name, WAVE, 1)
        shut = any(row.act == Act.SHUT_LEGACY for row in cutovers.acts_of(connection, newest))
    if not shut and not users.legacy_is_open():
        yield "the freeze of a process that is dead goes on"


def _to_its_end(environment: Environment, after: str) -> Outcome:
    """Thawed, or backed out of: once more, as an operator would."""
    way = "forth" if after == LATE else after
    for _ in range(3):
        try:
            outcome = WAYS[way](environment)
        except (NotFlipped, NotReturned):
            continue
        if way == "forth" and outcome is Outcome.NOT_FLIPPED:
            continue
        return outcome
    raise MedferryError(f"{after} came to no end in three attempts")


_GREEN: dict[str, Any] = {
    "nothing_differs": True,
    "settling": False,
    "unresolved": [],
    "results": ["all"],
    "still_open": [],
    "differing_charts": 0,
}


def green(*_: Any, **__: Any) -> Any:
    """A verification costs half a second; its own tests kill it."""
    return SimpleNamespace(id=1, verdict=SimpleNamespace(**_GREEN))


def kills(worlds: Worlds, first: int, step: int) -> Iterator[str]:
    """What is wrong after a kill at each act from the first, in steps, of both ways; who comes then takes turns.

    In small steps everybody comes, each to a kill of his own.
    """
    for way, others in AFTER.items():
        number, killed = first, True
        while killed:
            come = others if step <= SMALL else others[number // step % len(others) :][:1]
            for after in come:
                with worlds() as one:
                    problems, killed = killed_at(one, way, number, after)
                yield from problems
            number += step


def _nothing(*_: Any) -> str:
    return "planted: nothing was done"


def _too_early(switch: Switch) -> str:
    for unit in switch.units:
        switch.gates.medplum.open(unit, switch.attempt.epoch)
    return Switch.close_legacy(switch)


def _reopened(switch: Switch) -> str:
    for unit, gate in switch.gates.legacy_of(switch.units).items():
        switch.gates.legacy.reopen(switch.environment.capture, unit, gate.epoch)
    return "planted: nobody looked at Medplum"


def _endless(switch: Switch) -> str:
    told = Switch.close_legacy(switch)
    with switch.environment.capture.begin() as connection:
        connection.execute(sa.text(f"UPDATE {GATE} SET closed_until = NULL WHERE unit = 'north'"))
    return told


def _dies(_: Any) -> str:
    watch().acts.dead = True
    raise Killed


PLANTED: dict[str, tuple[str, dict[Act, Done]]] = {
    "a freeze has no end": ("forth", {Act.CLOSE_LEGACY: _endless, Act.FENCE: _dies}),
    "medplum is opened before the legacy gates are closed": ("forth", {Act.CLOSE_LEGACY: _too_early}),
    "nothing is cut after the gates are closed": ("forth", {Act.FENCE: _nothing, Act.FINAL_CUT: _nothing}),
    "the legacy gates are opened while users write in medplum": (
        "back",
        {Act.CLOSE_MEDPLUM: _nothing, Act.WAIT_OUT: _nothing, Act.PROVE: _nothing, Act.REOPEN_LEGACY: _reopened},
    ),
    "what was written in medplum is not waited for": ("back", {Act.WAIT_OUT: _nothing, Act.PROVE: _nothing}),
}


def _only_of(way: str, fault: Done, real: Done) -> Done:
    return lambda switch: (fault if switch.attempt.direction == way else real)(switch)


def planted(worlds: Worlds, first: int, step: int) -> Iterator[str]:
    """Of some faults those that no run finds. Each spoils the world that it is in."""
    for name, (way, acts) in [*PLANTED.items()][first::step]:
        before = dict(switching._ACTS)
        only = {act: _only_of(way, fault, before[act]) for act, fault in acts.items()}
        switching._ACTS.update(only)  # type: ignore[attr-defined]
        try:
            with worlds() as one:
                found, _ = killed_at(one, way, NEVER, LATE if way == "forth" else way)
        finally:
            switching._ACTS.update(before)  # type: ignore[attr-defined]
        if not found:
            yield f"not found: {name}"


def main(what: str, *arguments: str) -> int:
    logging.disable(logging.CRITICAL)
    cutover_proof.verify_subject = green  # type: ignore[assignment]
    cutover.require_parity = lambda *_: "not asked: what is simulated searches by no patient"
    first, step, *legacy = arguments or ("0", "1")
    with TemporaryDirectory(dir=MEMORY) as folder, worlds_on("".join(legacy), Path(folder)) as worlds:
        found = list((kills if what == "kills" else planted)(worlds, int(first), int(step)))
    sys.stdout.writelines(f"{problem}\n" for problem in found)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
