"""Verify what moves: a difference counts when it stands in two looks, and nothing of it was on its way at the second.

A subject that is kept in step has records on their way at any moment. What differs in the first look is looked at once
more, when what was on its way had time to arrive; what differs then, too, counts, unless it is on its way again. What
does not count is told as in flight: nobody has seen it equal. A limit of the plan is of no record, and always counts; a
unit's number of rows may differ by as many as are on their way in that unit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from medferry.medplum.client import MedplumClient
from medferry.verification.recorder import CheckRecorder, told_number

Moving = Mapping[str, Collection[str]]
"""Entity → source keys of records that are on their way between the two systems."""

Motion = Callable[[MedplumClient], Moving]
"""What is on its way now."""

UnitsOf = Callable[[str, Collection[str]], Mapping[str, Collection[str]]]
"""Of an entity's records, by their keys: the units that they are in, in the one system or the other ("": in none)."""

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

    units_of: UnitsOf = field(kw_only=True)
    first: Collection[_Seen] = ()
    before: Moving = field(default_factory=dict)
    still: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    numbers: list[tuple[str, str, int, int]] = field(default_factory=list)
    """Of a unit's other number of rows: check, unit, there, here."""
    set_aside: set[tuple[str, str]] = field(default_factory=set)
    """(entity, key) of what is told as in flight."""

    def different(self, name: str, key: str, field: str, kind: str, place: str = "") -> None:
        if self._was_seen((name, key, kind, place)):
            self.still.append((name, key, field, kind, place))
        else:
            self._set_aside(name, key)

    def over_limit(self, name: str, key: str, field: str, kind: str) -> None:
        self.named.add(key)
        CheckRecorder.different(self, name, key, field, kind)

    def other_number(self, name: str, unit: str, there: int, here: int) -> None:
        key, _, kind = told_number(unit, there, here)
        self.named.add(key)
        if self._was_seen((name, key, kind, "")):
            self.numbers.append((name, unit, there, here))
        else:
            self._set_aside(name, key)

    def settle(self, after: Moving) -> None:
        """Judge what differs still; to be called once, when the look has ended."""
        for name, key, field_, kind, place in self.still:
            if _moves(self.entity, key, self.before) or _moves(self.entity, key, after):
                self._set_aside(name, key)
            else:
                CheckRecorder.different(self, name, key, field_, kind, place)
        self._settle_numbers(after)

    def _settle_numbers(self, after: Moving) -> None:
        """A unit's number of rows may be another by no more than move there."""
        if not self.numbers:
            return
        moving = {*self.before.get(self.entity, ()), *after.get(self.entity, ())}
        units = self.units_of(self.entity, moving) if moving else {}
        for name, unit, there, here in self.numbers:
            told = told_number(unit, there, here)
            if abs(there - here) <= sum(unit in of_key for of_key in units.values()):
                self._set_aside(name, told[0])
            else:
                CheckRecorder.different(self, name, *told)

    def _was_seen(self, difference: _Seen) -> bool:
        return difference in self.first or len(self.first) >= MOST

    def _set_aside(self, name: str, key: str) -> None:
        self.in_flight(name, 1, ON_ITS_WAY)
        self.set_aside.add((self.entity, key))


def _moves(entity: str, key: str, moving: Moving) -> bool:
    """Whether a record is on its way."""
    return any(key in moving.get(one, ()) for one in (list(moving) if entity == _OF_ALL else [entity]))


def wait_for(client: MedplumClient, motion: Motion, looks: Collection[FirstLook]) -> None:
    """Give what differs and is on its way the time to arrive."""
    until = time.monotonic() + PATIENCE_SECONDS
    differing = {(look.entity, key) for look in looks for _, key, *_ in look.seen}
    while differing and time.monotonic() < until:
        moving = motion(client)
        if not any(_moves(entity, key, moving) for entity, key in differing):
            return
        time.sleep(PAUSE_SECONDS)
