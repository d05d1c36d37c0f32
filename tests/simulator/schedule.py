"""What happens in a simulation, by its seed or by enumeration: users' acts, kills, faults, clocks; then quiet."""

from __future__ import annotations

import atexit
import os
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from medferry.apply.visibility import WritesHidden
from medferry.errors import MedferryError, TransientError
from medferry.manifest.births import open_births
from medferry.manifest.checkpoints import CheckpointState, checkpoint
from medferry.manifest.database import open_manifest
from medferry.manifest.held_back import HeldReason, held_back_of
from medferry.manifest.tables import lease, target
from medferry.manifest.unit_state import states_of
from medferry.medplum.errors import Unauthorised
from medferry.sync.cycle import cycle
from medferry.sync.reverse_cycle import back_cycle
from medferry.workflows.sync import Way
from tests.simulator import births, checker
from tests.simulator.births import Creation
from tests.simulator.checker import Ledger
from tests.simulator.clock import clock
from tests.simulator.http import Fault
from tests.simulator.legacy import PROGRAM, all_written
from tests.simulator.users import BASE, ELEMENTS, LEGACY, MEDPLUM, Act, Cast, Place, Users, resources
from tests.simulator.world import SETTLE_SECONDS, Acts, Killed, Template, World, template, world

STARTS = (1_767_312_000.0, 1_772_953_080.0, 1_793_512_680.0)
"""A day in winter; two minutes before New York's clocks go forward, and back."""

_SKEW, _LONGEST_STALL, _HOUR = 600.0, 600.0, 3_700.0
_QUIET_CYCLES = 8

Planned = list[tuple[int, Act | Creation, Place]]
"""(number of the program's act before which it is done, what, where); what is for `BEFORE` comes before the process."""

BEFORE = -1
NOWHERE: Place = ("patient", 0)
"""Of an act that chooses its place itself."""

FOLDERS = "medferry-simulator-"
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""A folder that is no disk."""


@dataclass
class Simulation:
    """One world and what was done in it."""

    world: World
    users: Users
    way: Way = Way.FORTH
    told: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def process(self, planned: Planned, kill_at: int | None = None, stall_at: int | None = None) -> list[str]:
        """One process that does one cycle, with what others do meanwhile; returns its acts."""
        due = sorted(planned, key=lambda one: one[0])
        while due and due[0][0] == BEFORE:
            self._try(*due.pop(0)[1:])
        stalls = self.users.dice

        def between(number: int, name: str) -> None:
            if number == stall_at:
                clock.sleep(stalls.uniform(1, _LONGEST_STALL))
            while due and due[0][0] <= number:
                if not self._try(*due[0][1:]):
                    return
                due.pop(0)

        acts = Acts(kill_at, between)
        written = len(all_written(self.world.legacy))
        self.told.append(f"process, killed at {kill_at}")
        try:
            self._cycle(acts)
        except Killed:  # what it wrote back is known to both sides, and not yet to the manifest
            self.users.facts.unrecorded |= {
                one.value for one in all_written(self.world.legacy)[written:] if one.who == PROGRAM
            }
        except MedferryError as error:
            self.told.append(f"  {type(error).__name__}")
            if not isinstance(error, (TransientError, Unauthorised, WritesHidden)):
                self.problems.append(f"a cycle ended with {type(error).__name__}: {error}")
        for _, act, place in due:
            self._try(act, place)
        return acts.names

    def _cycle(self, acts: Acts) -> None:
        """As `workflows.sync` does it, without its repetitions."""
        with self.world.process(acts) as wave:
            cycle(wave)
            if self.way is Way.BOTH:
                back_cycle(wave)

    def _try(self, act: Act | Creation, place: Place) -> bool:
        self.world.wire.deliver()
        try:
            if isinstance(act, Creation):
                births.do(self.users, act)
            else:
                self.users.do(act, place)
        except sqlite3.OperationalError:
            return False
        return True

    def rest(self) -> None:
        """No more faults and no more acts, until nothing is written any more; then look."""
        wire = self.world.wire
        wire.fault, wire.medplum.lag = lambda _: None, 0.0
        before: Any = None
        for _ in range(_QUIET_CYCLES):
            try:
                self._cycle(Acts())
            except MedferryError as error:
                self.problems.append(f"a quiet cycle ended with {type(error).__name__}: {error}")
                return
            clock.sleep(_HOUR)
            wire.deliver()
            now = self._state()
            if now == before:
                break
            before = now
        else:
            self.problems.append("it does not come to rest")
        places, both = self._places(), self.way is Way.BOTH
        ledger, left = _ledger(self.world, places)
        self.problems += left
        known = (self.users.facts, ledger)
        of_births = births.versions_of_rows(self.users)
        self.problems += checker.problems(self.world.legacy, self.world.medplum, places, *known, both, of_births)
        self.problems += births.problems(self.users, both)

    def _places(self) -> list[Place]:
        """Those of the cast, and the rows of what was created in Medplum."""
        born = sorted(births.born(self.world.legacy).values()) if self.users.facts.created else []
        for place in born:
            self.users.facts.edited_at.setdefault(place, 0)
        return self.users.cast.places + born

    def _state(self) -> tuple[int, int]:
        """What grows with every write, of either side."""
        [(changes,)] = self.world.legacy.execute("SELECT coalesce(max(id), 0) FROM medferry_change")
        places = self._places()
        versions = [len(one) for place in places for _, _, one in resources(self.world.medplum, place)]
        return changes, sum(versions)


def _ledger(of: World, places: list[Place]) -> tuple[Ledger, list[str]]:
    """What the manifest tells, and what should not be left in it."""
    reasons: dict[Place, str] = {}
    ids: dict[Place, str] = {}
    name = of.migration.name
    with open_manifest(of.settings.manifest_url).begin() as connection:
        for entity in ELEMENTS:
            keys = [str(key) for each, key in places if each == entity]
            for key, state in states_of(connection, name, entity, keys).items():
                reasons[entity, int(key)] = state.reason
            mine = sa.select(target.c.value, target.c.medplum_id).where(target.c.system == f"{BASE}/{entity}")
            told = held_back_of(connection, name, ["north", "shared"])
            held = {(one.entity, int(one.key), one.reason) for one in told if not one.is_birth}
            ids |= {(entity, int(value)): medplum_id for value, medplum_id in connection.execute(mine)}
        leases = connection.scalar(sa.select(sa.func.count()).select_from(lease))
        open_ = connection.scalar(sa.select(sa.func.count()).where(checkpoint.c.state != CheckpointState.APPLIED))
        noted = len(open_births(connection, name))
    left = [f"{leases} leases are left"] if leases else []
    left += [
        f"{one.place} is held back: {one.reason}" for one in told if one.is_birth and one.reason != HeldReason.ROW_GONE
    ]
    gone = sum(one.is_birth and one.reason == HeldReason.ROW_GONE for one in told)
    left += [f"{noted} births are open, the rows of {gone} are gone"] if noted != gone else []
    return Ledger(reasons, ids, held), left + ([f"{open_} cuts are not applied"] if open_ else [])


@cache
def _shared() -> tuple[Path, Template]:
    """It goes with its process; what one that was killed has left goes with the next."""
    for left in Path(MEMORY or tempfile.gettempdir()).glob(f"{FOLDERS}*-*"):
        number = left.name.removeprefix(FOLDERS).partition("-")[0]
        if number.isdecimal() and not Path(f"/proc/{number}").exists():
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{FOLDERS}{os.getpid()}-", dir=MEMORY))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder, template(folder)


def simulation(
    seed: int = 0, way: Way = Way.FORTH, start: float = STARTS[0], skews: tuple[float, float, float] = (0, 0, 0)
) -> Simulation:
    folder, made = _shared()
    clock.set(start, *skews)
    of = world(made, folder / "world")
    return Simulation(of, Users(of.legacy, of.medplum, random.Random(seed)), way)


# -- by seed ---------------------------------------------------------------------------------------


def by_seed(seed: int) -> Simulation:
    """Everything by lot."""
    dice = dice_of(seed)
    skews = tuple(dice.choice((0.0, dice.uniform(-_SKEW, _SKEW))) for _ in range(3))
    one = simulation(seed, some_way(dice), dice.choice(STARTS), (skews[0], skews[1], skews[2]))
    by_lot(one, dice)
    one.world.close()
    return one


def births_by_seed(seed: int) -> Simulation:
    """The same with births, in worlds that are written both ways, or (one in eight) one way."""
    dice = dice_of(seed)
    one = simulation(seed, Way.FORTH if seed % 8 == 7 else Way.BOTH, STARTS[seed % len(STARTS)])
    one.rest()
    by_lot(one, dice, births_too=True)
    one.world.close()
    return one


def by_seed_in(of: World, seed: int) -> Simulation:
    """The same in a world that goes on, with records of the seed's own. Its clocks are not set."""
    dice = dice_of(seed)
    tuple(dice.choice((0.0, dice.uniform(-_SKEW, _SKEW))) for _ in range(3))
    way, _, first = some_way(dice), dice.choice(STARTS), 1_000 + 10 * seed
    cast = Cast((first, first + 1), (first + 2, first + 3), (first, first + 1))
    one = Simulation(of, Users(of.legacy, of.medplum, random.Random(seed), cast), way)
    born = [*(("patient", key) for key in cast.patients), *(("weight", key) for key in cast.weights)]
    one.process([(BEFORE, Act.BIRTH, place) for place in born])
    by_lot(one, dice)
    return one


def dice_of(seed: int) -> random.Random:
    random.seed(seed)  # the program waits by it
    return random.Random(f"simulation {seed}")


def some_way(dice: random.Random) -> Way:
    return dice.choice((Way.FORTH, Way.BOTH, Way.BOTH))


def by_lot(one: Simulation, dice: random.Random, births_too: bool = False) -> None:
    """What happens in it, and the look at its end, once or twice."""
    some_act = _some_birth if births_too else _some_act
    for _ in range(dice.choice((1, 1, 2))):
        for _ in range(dice.randint(1, 3)):
            _befall(one.world, dice)
            number = dice.randint(0, 4)
            planned = [
                (dice.choice((BEFORE, BEFORE, dice.randrange(40))), *some_act(dice, one.users.cast))
                for _ in range(number)
            ]
            kill_at = dice.choice((None, dice.randrange(40)))
            one.process(planned, kill_at, dice.choice((None, None, dice.randrange(40))))
            clock.sleep(dice.choice((0, dice.uniform(0, 120))))
        one.rest()


def _some_act(dice: random.Random, cast: Cast) -> tuple[Act | Creation, Place]:
    if dice.random() < 0.25:
        place: Place = ("weight", dice.choice(cast.weights))
        return dice.choice((Act.EDIT_ROW, Act.EDIT, Act.DELETE_ROW, Act.RESTORE_ROW, Act.LEAVE, Act.EDIT_BOTH)), place
    if dice.random() < 0.15:
        return dice.choice((Act.BIRTH, Act.BIRTH, Act.DELETE_ROW)), ("patient", dice.choice(cast.born_later))
    usual = (Act.EDIT_ROW, Act.EDIT_ROW, Act.EDIT, Act.EDIT, Act.EDIT_BOTH, Act.EDIT_BOTH_ALIKE, Act.DELETE)
    return dice.choice((*usual, *Act)), ("patient", dice.choice(cast.patients))


def _some_birth(dice: random.Random, cast: Cast) -> tuple[Act | Creation, Place]:
    if dice.random() < 0.2:
        return _some_act(dice, cast)
    return dice.choice((Creation.CREATE, Creation.CREATE, Creation.CREATE, *Creation)), NOWHERE


def _befall(of: World, dice: random.Random) -> None:
    """Choose the faults of the next process."""
    chance = dice.choice((0.0, 0.0, 0.05, 0.3))
    kinds = dice.sample(list(Fault), dice.randint(1, 4))
    of.wire.fault = lambda _: dice.choice(kinds) if dice.random() < chance else None
    of.wire.later = lambda: dice.uniform(0, 0.8 * SETTLE_SECONDS)
    of.medplum.lag = dice.choice((0.0, 0.0, 0.0, dice.uniform(0, 5)))


# -- by enumeration --------------------------------------------------------------------------------

_PAIR: tuple[Place, Place] = (("patient", 1), ("patient", 2))


def programs() -> Iterator[tuple[Planned, Planned, Way]]:
    """What two writers do to two keys: the first before a cycle, the second when that is killed, or before it, too."""
    acts = [*LEGACY, *MEDPLUM]
    for first, second, of_second, before, way in product(acts, acts, _PAIR, (True, False), (Way.FORTH, Way.BOTH)):
        yield [(BEFORE, first, _PAIR[0])], [(BEFORE if before else 1_000, second, of_second)], way


def by_program(number: int, told: Callable[[str], None]) -> None:
    """One program with a kill at each point that it has."""
    before, meanwhile, way = list(programs())[number]
    kill_at, acts = 0, 1
    while kill_at < acts:
        one = simulation(number, way)
        acts = len(one.process([*before, *meanwhile], kill_at)) + 1
        one.rest()
        one.world.close()
        for problem in one.problems:
            told(f"program {number}, killed at {kill_at}: {problem}; {one.users.facts.told}")
        kill_at += 1
