"""The freezes that there were, part by part as the stamps of their acts have them, and what was forecast of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import sqlalchemy as sa

from medferry.manifest.clock import seconds_between
from medferry.manifest.cutovers import ActRow, Attempt, AttemptState, Direction, acts_of, attempt
from medferry.manifest.tables_of_cutover import cutover

FORECAST, CAUGHT_UP, CHECKED = "forecast", "caught_up", "checked"
"""In the notes of an attempt: the seconds forecast when it began (at least, probably, at most); the records of its
final cut; those that it verified in the freeze."""

RECENT = 20
"""Freezes that a forecast looks at: what was long ago was another database."""


@dataclass(frozen=True, slots=True)
class MeasuredFreeze:
    """Of an attempt that came to its end in one go. All in seconds but the amounts; `forecast` None: there was none."""

    wave: str
    at: str
    drain: float
    catch_up: float
    check: float
    flip: float
    caught_up: int
    checked: int
    forecast: tuple[float, float, float] | None = None

    @property
    def seconds(self) -> float:
        """In which nobody could write."""
        return self.drain + self.catch_up + self.check + self.flip


def measured_freezes(connection: sa.Connection, migration: str, ends: Sequence[str]) -> list[MeasuredFreeze]:
    """The newest of a migration's, newest first. `ends`: the acts with which their parts end, in order.

    Who was backed out of was never flipped, and is not among them.
    """
    of = (cutover.c.migration == migration, cutover.c.direction == Direction.FORTH)
    done = sa.select(cutover.c.id).where(*of, cutover.c.state == AttemptState.DONE)
    numbers = connection.scalars(done.order_by(cutover.c.id.desc()).limit(RECENT)).all()
    attempts = [attempt(connection, number) for number in numbers]
    found = (measured_freeze(one, acts_of(connection, one), ends) for one in attempts)
    return [one for one in found if one]


def measured_freeze(of: Attempt, acts: Sequence[ActRow], ends: Sequence[str]) -> MeasuredFreeze | None:
    """Of an attempt by its acts. None: one came twice or not at all, and what passed in between is not the freeze's."""
    stamps = {one.act: one for one in acts}
    times = [stamps[end].ended_at for end in ends if end in stamps]
    if len(stamps) < len(acts) or len(times) < len(ends):
        return None
    begun = stamps[ends[0]].begun_at
    drain, catch_up, check, flip = (seconds_between(*pair) for pair in pairwise([begun, *map(str, times)]))
    amounts = (int(of.notes.get(CAUGHT_UP, 0)), int(of.notes.get(CHECKED, 0)))
    said = of.notes.get(FORECAST)
    return MeasuredFreeze(of.wave, begun, drain, catch_up, check, flip, *amounts, tuple(said) if said else None)
