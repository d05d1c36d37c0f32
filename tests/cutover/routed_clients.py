"""Users of a unit whose writes are all recorded: the second opinion on a cutover. Shares no code with Medferry.

A client that follows the routing has read it once, writes there, and looks again only when it is refused:

    diary = Diary()
    clients = [Follower(diary, "north", ["1", "2"], FlagdFile(path, "tiny", "all-other"), systems), Stubborn(…)]
    with at_work(clients):
        …flip, flip back…
    assert diary.lost(final) == [] and diary.turns("north") <= flips

Every record has one writer, which writes growing numbers and is told what each has replaced; so an acknowledged write
that was lost shows at the next one, or in the end.
A `Stubborn` one never looks at the routing: it is refused, or what it was acknowledged has to be there as well.
"""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


class Refused(Exception):
    """The system takes no writes of the unit now: nothing of this one was stored."""


class NoAnswer(Exception):
    """Whether the write was stored is not known: an answer was lost, a server failed."""


class System(Protocol):
    """One of the two, as an application's user has it."""

    def write(self, record: str, value: int) -> int:
        """The value that it has replaced, when the write is acknowledged. Raises Refused, NoAnswer."""


Route = Callable[[], str]
"""Where to write now, as the routing says: a name of a system; "nobody" where it has no answer."""


@dataclass(frozen=True, slots=True)
class FlagdFile:
    """Reads the flag definitions as flagd does (tests/cutover/test_flagd.py), for one unit and domain."""

    path: Path
    migration: str
    domain: str
    unit: str

    def __call__(self) -> str:
        flag = json.loads(self.path.read_bytes())["flags"][f"medferry.{self.migration}.{self.domain}"]
        route = flag["variants"].get(self.unit) or flag["variants"][flag["defaultVariant"]]
        return str(route["writes"])


@dataclass(frozen=True, slots=True)
class Write:
    """A write that was tried. Times are of the process's monotonic clock; `acknowledged` None: there was no answer."""

    unit: str
    record: str
    value: int
    system: str
    begun: float
    acknowledged: float | None
    replaced: int | None = None


@dataclass(slots=True)
class Diary:
    """What the clients were told, in the order of their answers."""

    writes: list[Write] = field(default_factory=list)
    refusals: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """By system."""
    faults: list[BaseException] = field(default_factory=list)
    """Of clients that died of something unforeseen."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, write: Write) -> None:
        with self._lock:
            self.writes.append(write)

    def note_refusal(self, system: str) -> None:
        with self._lock:
            self.refusals[system] += 1

    def note_fault(self, fault: BaseException) -> None:
        with self._lock:
            self.faults.append(fault)

    @property
    def acknowledged(self) -> list[Write]:
        with self._lock:
            return [write for write in self.writes if write.acknowledged is not None]

    def count(self, system: str) -> int:
        """Acknowledged writes into a system."""
        return sum(write.system == system for write in self.acknowledged)

    def lost(self, final: Mapping[str, int]) -> list[Write]:
        """The acknowledged writes that were not there any more at the next one of their record, or in the end.

        `final`: record → the value that the system of the unit has in the end. A later write that got no answer may
        be there in the place of an acknowledged one.
        """
        last: dict[str, Write] = {}
        gone = []
        for write in self.acknowledged:  # of one record, in the order in which its only writer began them
            before = last.get(write.record)
            if before is not None and write.replaced is not None and write.replaced < before.value:
                gone.append(before)
            last[write.record] = write
        with self._lock:
            unanswered = {(write.record, write.value) for write in self.writes if write.acknowledged is None}

        def is_there(write: Write) -> bool:
            found = final.get(write.record, -1)
            return found == write.value or (found > write.value and (write.record, found) in unanswered)

        return gone + [write for write in last.values() if not is_there(write)]

    def turns(self, unit: str, first: str) -> int:
        """How often the unit's writes went over to another system, at least: more than the flips, and both were open.

        Counted are only acknowledgements that one can tell the order of: one began when the other had its answer.
        """
        of_unit = [write for write in self.acknowledged if write.unit == unit]
        side, since, turns = first, float("-inf"), 0
        while True:
            others = [write for write in of_unit if write.system != side and write.begun > since]
            if not others:
                return turns
            next_one = min(others, key=lambda write: write.acknowledged or 0.0)
            side, since, turns = next_one.system, next_one.acknowledged or 0.0, turns + 1


@dataclass(slots=True)
class Client:
    """A user who writes the records of a unit that are this user's alone, one after the other."""

    diary: Diary
    unit: str
    records: Sequence[str]
    systems: Mapping[str, System]
    pause: float = 0.01
    """Seconds between two acts, and after a refusal."""
    _value: int = 0

    def act(self, over: Callable[[], bool]) -> None:
        """One write, until it is acknowledged or the work is over."""
        raise NotImplementedError

    def next_write(self) -> tuple[str, int]:
        self._value += 1
        return self.records[self._value % len(self.records)], self._value

    def tried(self, system: str, record: str, value: int) -> bool:
        """Whether the write was acknowledged; what became of it is noted."""
        begun = time.monotonic()
        try:
            replaced = self.systems[system].write(record, value)
        except Refused:
            self.diary.note_refusal(system)
            return False
        except NoAnswer:
            self.diary.note(Write(self.unit, record, value, system, begun, None))
            return False
        self.diary.note(Write(self.unit, record, value, system, begun, time.monotonic(), replaced))
        return True

    def run(self, over: threading.Event) -> None:
        """Write until the work is over."""
        try:
            while not over.is_set():
                self.act(over.is_set)
                time.sleep(self.pause)
        except BaseException as fault:  # noqa: BLE001 -- the test is told of it
            self.diary.note_fault(fault)


@dataclass(slots=True)
class Follower(Client):
    """Follows the routing: refused, it fetches the routing anew and repeats what it wanted."""

    route: Route = field(kw_only=True)
    _system: str = ""

    def act(self, over: Callable[[], bool]) -> None:
        record, value = self.next_write()
        self._system = self._system or self.route()
        while not (self._system in self.systems and self.tried(self._system, record, value)):
            if over():
                return
            time.sleep(self.pause)
            self._system = self.route()


@dataclass(slots=True)
class Stubborn(Client):
    """Ignores the routing: goes on writing where it always wrote, and repeats nothing."""

    system: str = field(kw_only=True)

    def act(self, over: Callable[[], bool]) -> None:
        if not over():
            self.tried(self.system, *self.next_write())


@contextmanager
def at_work(clients: Sequence[Client]) -> Iterator[None]:
    """The clients, each in a thread of its own, until the end of the context. Raises what one of them died of."""
    owners = [record for client in clients for record in client.records]
    assert len(set(owners)) == len(owners), "a record has one writer, or nobody could tell what is lost"
    over = threading.Event()
    threads = [threading.Thread(target=client.run, args=(over,), daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()
    for client in clients:
        for fault in client.diary.faults:
            raise fault
