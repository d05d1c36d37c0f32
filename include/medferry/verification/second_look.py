"""Verify what moves: a difference counts when it stands in two looks, and nothing of it was on its way at the second.

A subject that is kept in step has records on their way at any moment. What differs in the first look is looked at once
more, when what was on its way had time to arrive; what differs then, too, counts, unless it is on its way again. What
does not count is told as in flight: nobody has seen it equal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from medferry.medplum.client import MedplumClient
from medferry.verification.recorder import CheckRecorder

Moving = Mapping[str, Collection[str]]
"""Entity → source keys of records that are on their way between the two systems."""

Motion = Callable[[MedplumClient], Moving]
"""What is on its way now."""

PATIENCE_SECONDS, PAUSE_SECONDS = 30.0, 2.0
"""So long what differs may take to arrive, and so often that is asked."""

MOST = 20_000
"""Differences of a part that are remembered: of more, each counts as it is."""

ON_ITS_WAY = "On its way between the two systems, or different in one of two looks: verify again."

_Seen = tuple[str, str, str, str]
"""Check, key, kind and place: what it says of the field may be another the next time, and it is the same difference."""

_OF_ALL = "all"


@dataclass(slots=True)
class FirstLook(CheckRecorder):
    """Records as always, and remembers what differs."""

    seen: set[_Seen] = field(default_factory=set)
    looks_again: bool = False
    """Something differs, or could not be checked."""

    def different(self, name: str, key: str, field: str, kind: str, place: str = "") -> None:
        self.looks_again = True
        if len(self.seen) < MOST:
            self.seen.add((name, key, kind, place))
        CheckRecorder.different(self, name, key, field, kind, place)

    def unchecked(self, name: str, number: int, why: str, *keys: str) -> None:
        self.looks_again = True
        CheckRecorder.unchecked(self, name, number, why, *keys)


@dataclass(slots=True)
class SecondLook(CheckRecorder):
    """Counts what differed before, too, and is on no way: asked before this look begins, and when it has ended."""

    first: Collection[_Seen] = ()
    before: Moving = field(default_factory=dict)
    still: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    set_aside: set[tuple[str, str]] = field(default_factory=set)
    """(entity, key) of what is told as in flight."""

    def different(self, name: str, key: str, field: str, kind: str, place: str = "") -> None:
        if (name, key, kind, place) in self.first or len(self.first) >= MOST:
            self.still.append((name, key, field, kind, place))
        else:
            self._set_aside(name, key)

    def settle(self, after: Moving) -> None:
        """Judge what differs still; to be called once, when the look has ended."""
        for name, key, field_, kind, place in self.still:
            if _moves(self.entity, key, self.before) or _moves(self.entity, key, after):
                self._set_aside(name, key)
            else:
                CheckRecorder.different(self, name, key, field_, kind, place)

    def _set_aside(self, name: str, key: str) -> None:
        self.in_flight(name, 1, ON_ITS_WAY)
        self.set_aside.add((self.entity, key))


def _moves(entity: str, key: str, moving: Moving) -> bool:
    """Whether a record is on its way; what is told of no record (a number of rows) may be told for any that is."""
    entities = list(moving) if entity == _OF_ALL else [entity]
    of_no_record = key == entity or key.startswith(("unit ", "no unit"))
    return any(key in moving.get(one, ()) or (of_no_record and moving.get(one)) for one in entities)


def wait_for(client: MedplumClient, motion: Motion, looks: Collection[FirstLook]) -> None:
    """Give what differs and is on its way the time to arrive."""
    until = time.monotonic() + PATIENCE_SECONDS
    differing = {(look.entity, key) for look in looks for _, key, *_ in look.seen}
    while differing and time.monotonic() < until:
        moving = motion(client)
        if not any(_moves(entity, key, moving) for entity, key in differing):
            return
        time.sleep(PAUSE_SECONDS)
