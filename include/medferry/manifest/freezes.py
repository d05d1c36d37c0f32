"""The freezes that there were, part by part as the stamps of their acts have them, and what was forecast of each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from medferry.manifest.clock import seconds_between
from medferry.manifest.cutovers import ActRow, Attempt, AttemptState, Direction, acts_of, attempt
from medferry.manifest.tables_of_cutover import cutover

FORECAST, CAUGHT_UP, CHECKED, BY_STAGES = "forecast", "caught_up", "checked", "by_stages"
"""In the notes of an attempt: the seconds forecast when it began (at least, probably, at most); the records of its
final cut; those that it verified in the freeze; whether each of its stages is a process of its own."""

MOST = 20
"""Freezes, or rehearsals, that a forecast looks at: what was long ago was another database."""


@dataclass(frozen=True, slots=True)
class MeasuredFreeze:
    """Of an attempt that came to its end in one go. All in seconds but the amounts; `forecast` None: there was none.

    `waits`: between its acts, when nothing was done. `by_stages`: each stage was a process of its own, as in Airflow.
    """

    wave: str
    at: str
    drain: float
    catch_up: float
    check: float
    flip: float
    waits: float
    caught_up: int
    checked: int
    by_stages: bool = False
    forecast: tuple[float, float, float] | None = None

    @property
    def at_work(self) -> float:
        """What its acts took."""
        return self.drain + self.catch_up + self.check + self.flip

    @property
    def seconds(self) -> float:
        """In which nobody could write."""
        return self.at_work + self.waits


Parts = Mapping[str, Collection[str]]
"""Part of a freeze → its acts, all in the order in which they are done."""


def measured_freezes(connection: sa.Connection, migration: str, parts: Parts) -> list[MeasuredFreeze]:
    """The newest of a migration's, newest first. `parts`: drain, catch_up, check, flip.

    Who was backed out of was never flipped, and is not among them.
    """
    of = (cutover.c.migration == migration, cutover.c.direction == Direction.FORTH)
    done = sa.select(cutover.c.id).where(*of, cutover.c.state == AttemptState.DONE)
    numbers = connection.scalars(done.order_by(cutover.c.id.desc()).limit(MOST)).all()
    attempts = [attempt(connection, number) for number in numbers]
    found = (measured_freeze(one, acts_of(connection, one), parts) for one in attempts)
    return [one for one in found if one]


def measured_freeze(of: Attempt, acts: Sequence[ActRow], parts: Parts) -> MeasuredFreeze | None:
    """Of an attempt by its acts. None: one came twice or not at all, and what passed in between is not the freeze's."""
    wanted = [act for some in parts.values() for act in some]
    stamps = {one.act: (one.begun_at, one.ended_at) for one in acts if one.ended_at}
    if len(stamps) < len(acts) or not stamps.keys() >= {*wanted}:
        return None
    took = {name: sum(seconds_between(*map(str, stamps[act])) for act in some) for name, some in parts.items()}
    begun, ended = stamps[wanted[0]][0], str(stamps[wanted[-1]][1])
    said = of.notes.get(FORECAST)
    return MeasuredFreeze(
        of.wave,
        begun,
        **took,
        waits=max(0.0, seconds_between(begun, ended) - sum(took.values())),
        caught_up=int(of.notes.get(CAUGHT_UP, 0)),
        checked=int(of.notes.get(CHECKED, 0)),
        by_stages=bool(of.notes.get(BY_STAGES)),
        forecast=tuple(said) if said else None,
    )
