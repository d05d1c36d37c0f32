"""Where each unit is written, the attempts to move the units of a wave, and what each of their acts did.

The gates in both systems are the truth; what stands here is what the next process has to know, and the evidence.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from medferry.errors import MedferryError
from medferry.manifest.clock import clock
from medferry.manifest.tables_of_cutover import cutover, cutover_act, unit_stage


class UnitStage(StrEnum):
    """Where a unit is written, and what is done about that."""

    LEGACY = "legacy"
    SHADOW = "shadow"
    """In the legacy database, and it was seen that nobody can write it in Medplum."""
    CLOSING = "closing"
    CLOSED = "closed"
    """Nowhere, for a moment."""
    MEDPLUM = "medplum"
    RETURNING = "returning"
    """Nowhere: what was written in Medplum is on its way back."""


class Direction(StrEnum):
    """Where an attempt moves units to."""

    PREPARE = "prepare"
    """Nowhere: it only lets nobody write them in Medplum."""
    FORTH = "forth"
    BACK = "back"


class AttemptState(StrEnum):
    """How far an attempt got."""

    RUNNING = "running"
    """It is at work, or its process has died: the next one goes on, or backs out."""
    DONE = "done"
    BACKED_OUT = "backed_out"
    """All is as before it."""
    REPLACED = "replaced"
    """It came to no end, and another took its place."""


class StageMoved(MedferryError):
    """Somebody else has moved the unit meanwhile."""


class ClockSetBack(MedferryError):
    """What was decided after a time seems to have been decided before it."""


@dataclass(frozen=True, slots=True)
class UnitRow:
    """Where a unit is, since when, at which epoch of its gate in the legacy database."""

    unit: str
    stage: UnitStage
    epoch: int
    cutover_id: int
    since: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt to move units. `epoch`: of their policies in Medplum, from its closing on."""

    id: int
    wave: str
    direction: Direction
    state: AttemptState
    units: tuple[str, ...]
    person: str
    epoch: int
    notes: Mapping[str, Any]
    begun_at: str
    ended_at: str | None


@dataclass(frozen=True, slots=True)
class ActRow:
    """An act of an attempt. Without an end its process died in it, or is in it."""

    act: str
    person: str
    begun_at: str
    ended_at: str | None
    failed: bool
    told: str


# -- units -----------------------------------------------------------------------------------------


def stages_of(connection: sa.Connection, migration: str) -> dict[str, UnitRow]:
    """Unit → where it is; those that no attempt was ever about are left out."""
    columns = [unit_stage.c[name] for name in UnitRow.__slots__]
    rows = connection.execute(sa.select(*columns).where(unit_stage.c.migration == migration))
    return {row.unit: UnitRow(row.unit, UnitStage(row.stage), *row[2:]) for row in rows}


def move_unit(
    connection: sa.Connection, migration: str, unit: str, before: UnitRow | None, stage: UnitStage, epoch: int, by: int
) -> None:
    """Note that a unit has moved on from where it was found. `by`: the attempt. Raises StageMoved."""
    values = {"stage": stage, "epoch": epoch, "cutover_id": by, "since": clock(connection)}
    if before is None:
        there = sa.select(sa.literal(1)).where(unit_stage.c.migration == migration, unit_stage.c.unit == unit)
        moved = connection.scalar(there) is None
        if moved:
            connection.execute(sa.insert(unit_stage).values(migration=migration, unit=unit, **values))
    else:
        own = (unit_stage.c.migration == migration, unit_stage.c.unit == unit)
        same = (unit_stage.c.stage == before.stage, unit_stage.c.epoch == before.epoch,
                unit_stage.c.cutover_id == before.cutover_id)  # fmt: skip
        moved = connection.execute(sa.update(unit_stage).where(*own, *same).values(values)).rowcount == 1
    if not moved:
        raise StageMoved(f"Somebody else has moved {unit} meanwhile.", "Look at it: `medferry cutover status`.")


# -- attempts --------------------------------------------------------------------------------------


def begin_attempt(
    connection: sa.Connection,
    migration: str,
    wave: str,
    direction: Direction,
    units: Sequence[str],
    person: str,
    epoch: int,
    notes: Mapping[str, Any],
) -> Attempt:
    """Note that somebody sets out to move the units of a wave."""
    values = {"units": list(units), "person": person, "epoch": epoch, "notes": dict(notes)}
    values |= {"state": AttemptState.RUNNING, "begun_at": clock(connection)}
    statement = sa.insert(cutover).values(migration=migration, wave=wave, direction=direction, **values)
    number = int(connection.execute(statement.returning(cutover.c.id)).scalar_one())
    return attempt(connection, number)


def attempt(connection: sa.Connection, number: int) -> Attempt:
    """An attempt by its id."""
    return _attempt(connection.execute(sa.select(*_ATTEMPT).where(cutover.c.id == number)).one())


def newest_attempt(
    connection: sa.Connection, migration: str, wave: str, states: Collection[AttemptState] = tuple(AttemptState)
) -> Attempt | None:
    """The newest of a wave that moves its units, or would have, in some states; None: there was none."""
    of = (cutover.c.migration == migration, cutover.c.wave == wave, cutover.c.direction != Direction.PREPARE)
    statement = sa.select(*_ATTEMPT).where(*of, cutover.c.state.in_(states)).order_by(cutover.c.id.desc()).limit(1)
    row = connection.execute(statement).one_or_none()
    return _attempt(row) if row else None


def newest_attempts(connection: sa.Connection, migration: str, wave: str, number: int) -> list[Attempt]:
    """The newest first."""
    of = (cutover.c.migration == migration, cutover.c.wave == wave)
    statement = sa.select(*_ATTEMPT).where(*of).order_by(cutover.c.id.desc()).limit(number)
    return [_attempt(row) for row in connection.execute(statement)]


def running_attempts(connection: sa.Connection, migration: str) -> list[Attempt]:
    """Those of all waves that came to no end."""
    of = (cutover.c.migration == migration, cutover.c.state == AttemptState.RUNNING)
    return [_attempt(row) for row in connection.execute(sa.select(*_ATTEMPT).where(*of).order_by(cutover.c.id))]


def attempts_of(connection: sa.Connection, migration: str, wave: str) -> list[Attempt]:
    """All of a wave, the oldest first."""
    of = (cutover.c.migration == migration, cutover.c.wave == wave)
    return [_attempt(row) for row in connection.execute(sa.select(*_ATTEMPT).where(*of).order_by(cutover.c.id))]


def newest_flip(connection: sa.Connection, migration: str, wave: str) -> Attempt | None:
    """The newest attempt of a wave that has noted the moment of its flip, and was not backed out of."""
    of = (cutover.c.migration == migration, cutover.c.wave == wave, cutover.c.direction == Direction.FORTH)
    counts = cutover.c.state != AttemptState.BACKED_OUT
    rows = connection.execute(sa.select(*_ATTEMPT).where(*of, counts).order_by(cutover.c.id.desc()))
    return next((found for row in rows if (found := _attempt(row)).notes.get(FLIPPED)), None)


FLIPPED = "flipped"
"""In the notes of an attempt: Medplum's own time before its users could write."""


def note(connection: sa.Connection, of: Attempt, **notes: Any) -> Attempt:
    """Add to what the acts of an attempt have to know of each other."""
    present = attempt(connection, of.id)
    values = {"notes": {**present.notes, **notes}}
    connection.execute(sa.update(cutover).where(cutover.c.id == of.id).values(values))
    return attempt(connection, of.id)


def raise_epoch(connection: sa.Connection, of: Attempt) -> Attempt:
    """Let its next closing in Medplum be a later one than whatever it has sent there before."""
    connection.execute(sa.update(cutover).where(cutover.c.id == of.id).values(epoch=cutover.c.epoch + 1))
    return attempt(connection, of.id)


def end_attempt(connection: sa.Connection, of: Attempt, state: AttemptState) -> None:
    """It has come to an end."""
    values = {"state": state, "ended_at": clock(connection)}
    connection.execute(sa.update(cutover).where(cutover.c.id == of.id).values(values))


def begin_act(connection: sa.Connection, of: Attempt, act: str, person: str) -> int:
    """Note that an act begins; returns its id."""
    values = {"person": person, "begun_at": clock(connection), "failed": False, "told": ""}
    statement = sa.insert(cutover_act).values(cutover_id=of.id, act=act, **values)
    return int(connection.execute(statement.returning(cutover_act.c.id)).scalar_one())


def end_act(connection: sa.Connection, act_id: int, told: str, failed: bool = False) -> None:
    """Note how an act ended."""
    values = {"ended_at": clock(connection), "failed": failed, "told": told[:500]}
    connection.execute(sa.update(cutover_act).where(cutover_act.c.id == act_id).values(values))


def acts_of(connection: sa.Connection, of: Attempt) -> list[ActRow]:
    """In their order."""
    columns = [cutover_act.c[name] for name in ActRow.__slots__]
    statement = sa.select(*columns).where(cutover_act.c.cutover_id == of.id).order_by(cutover_act.c.id)
    return [ActRow(*row) for row in connection.execute(statement)]


def check_clock(connection: sa.Connection, of: Attempt, since: str) -> None:
    """Raises ClockSetBack where an act of the attempt is noted at a time before `since`, which it began after."""
    rows = acts_of(connection, of)
    times = [time for row in rows for time in (row.begun_at, row.ended_at) if time]
    if any(time < since for time in times):
        raise ClockSetBack(
            "The manifest database's clock was set back: what was decided since cannot be told by its time.",
            "Set it right; the next attempt verifies everything anew.",
        )


_ATTEMPT = [cutover.c[name] for name in Attempt.__slots__]


def _attempt(row: Any) -> Attempt:
    values = dict(row._mapping)
    own = {"direction": Direction(values["direction"]), "state": AttemptState(values["state"])}
    return Attempt(**{**values, **own, "units": tuple(values["units"])})
