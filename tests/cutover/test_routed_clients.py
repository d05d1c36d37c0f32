"""The witness of a cutover can be trusted: it finds what is lost, and both gates open; and it follows the routing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from tests.cutover.routed_clients import Diary, Follower, NoAnswer, Refused, Stubborn, Write, at_work

LEGACY, MEDPLUM = "legacy", "medplum"


@dataclass
class Memory:
    """A system with a gate of its own. Counts at most what a lock lets through while the gate is moved."""

    opened: bool
    rows: dict[str, int] = field(default_factory=dict)
    forgets: bool = False
    """The planted fault: it acknowledges and stores nothing."""
    answers: Callable[[], bool] = lambda: True
    lock: threading.Lock = field(default_factory=threading.Lock)

    def write(self, record: str, value: int) -> int:
        with self.lock:
            if not self.opened:
                raise Refused
            replaced = self.rows.get(record, 0)
            if not self.forgets:
                self.rows[record] = value
        if not self.answers():
            raise NoAnswer
        return replaced


@dataclass
class World:
    """Two systems that never have both gates open, and the routing."""

    systems: dict[str, Memory] = field(default_factory=lambda: {LEGACY: Memory(True), MEDPLUM: Memory(False)})
    at: str = LEGACY
    diary: Diary = field(default_factory=Diary)

    def flip(self, to: str) -> None:
        old, new = self.systems[self.at], self.systems[to]
        with old.lock:
            old.opened = False
        new.rows = dict(old.rows)
        with new.lock:
            new.opened = True
        self.at = to

    def follower(self, *records: str) -> Follower:
        return Follower(self.diary, "north", records, self.systems, 0.0005, route=lambda: self.at)

    def stubborn(self, *records: str, system: str = LEGACY) -> Stubborn:
        return Stubborn(self.diary, "north", records, self.systems, 0.0005, system=system)

    def until(self, more: int) -> None:
        """Wait for so many more acknowledged writes."""
        wanted, patience = len(self.diary.acknowledged) + more, time.monotonic() + 30
        while len(self.diary.acknowledged) < wanted:
            assert time.monotonic() < patience and not self.diary.faults
            time.sleep(0.002)


def test_who_follows_the_routing_loses_nothing() -> None:
    world = World()
    with at_work([world.follower("1", "2"), world.follower("3"), world.stubborn("4")]):
        for to in (MEDPLUM, LEGACY, MEDPLUM):
            world.until(20)
            world.flip(to)
        world.until(20)
    assert world.diary.lost(world.systems[MEDPLUM].rows) == []
    assert world.diary.turns("north", LEGACY) == 3
    assert world.diary.refusals[LEGACY] > 0 and world.diary.count(MEDPLUM) > 20


def test_what_is_acknowledged_and_forgotten_is_found() -> None:
    world = World()
    with at_work([world.follower("1", "2")]):
        world.until(10)
        world.systems[LEGACY].forgets = True
        world.until(10)
    assert {write.record for write in world.diary.lost(world.systems[LEGACY].rows)} == {"1", "2"}
    assert len(world.diary.lost(world.systems[LEGACY].rows)) >= 10


def test_a_switch_that_leaves_a_write_behind_is_found() -> None:
    """The copy is made before the gate is closed: what comes in between is lost, though the user goes on and on."""
    world = World()
    with at_work([world.follower("1")]):
        world.until(10)
        copied = dict(world.systems[LEGACY].rows)
        world.until(3)
        with world.systems[LEGACY].lock:
            world.systems[LEGACY].opened = False
        world.systems[MEDPLUM] = Memory(True, copied)
        world.at = MEDPLUM
        world.until(5)
    [lost] = world.diary.lost(world.systems[MEDPLUM].rows)
    assert lost == [write for write in world.diary.acknowledged if write.system == LEGACY][-1]


def test_both_gates_open_are_found() -> None:
    """Two who ignore the routing go on in both systems: writes here, there and here again, and one flip at most."""
    world = World()
    world.systems[MEDPLUM].opened = True
    with at_work([world.stubborn("1"), world.stubborn("2", system=MEDPLUM)]):
        world.until(60)
    assert world.diary.turns("north", LEGACY) > 1


def told(record: str, value: int, system: str, begun: float, acknowledged: float | None) -> Write:
    return Write("north", record, value, system, begun, acknowledged)


def test_turns_count_only_what_has_an_order() -> None:
    diary = Diary()
    for one in (
        told("1", 1, LEGACY, 0, 9),
        told("2", 1, MEDPLUM, 1, 2),  # at the same time as the first: either may have been stored first
        told("1", 2, LEGACY, 3, 4),  # after Medplum's
        told("2", 2, MEDPLUM, 5, None),  # never acknowledged
    ):
        diary.note(one)
    assert diary.turns("north", LEGACY) == 2
    assert diary.turns("south", LEGACY) == 0


def test_a_lost_answer_may_be_there_or_not() -> None:
    diary = Diary()
    diary.note(told("1", 1, LEGACY, 0, 1))
    diary.note(told("1", 2, LEGACY, 2, None))
    assert diary.lost({"1": 1}) == diary.lost({"1": 2}) == []
    assert diary.lost({"1": 3}) == diary.lost({"1": 0}) == diary.lost({}) == [diary.acknowledged[0]]


def test_a_lost_answer_is_repeated() -> None:
    world, answers = World(), iter([False, True] * 1_000)
    world.systems[LEGACY].answers = lambda: next(answers)
    with at_work([world.follower("1")]):
        world.until(10)
    values = [w.value for w in world.diary.acknowledged]
    assert values[:10] == list(range(1, 11)) and world.diary.lost(world.systems[LEGACY].rows) == []


def test_two_writers_of_one_record_are_refused() -> None:
    world = World()
    with pytest.raises(AssertionError, match="one writer"), at_work([world.follower("1"), world.stubborn("1")]):
        pass


def test_what_a_client_died_of_is_raised() -> None:
    world = World()
    world.systems[LEGACY].answers = lambda: bool(1 / 0)
    with pytest.raises(ZeroDivisionError), at_work([world.follower("1")]):
        while not world.diary.faults:
            time.sleep(0.001)
