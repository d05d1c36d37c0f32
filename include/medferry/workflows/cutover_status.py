"""Where each unit is written, by its gates, and whether what users write in Medplum could be taken back. Reads only."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from typing import Any

import sqlalchemy as sa

from medferry.cutover.acts import Place, place_of
from medferry.cutover.gates import Gates
from medferry.errors import MedferryError
from medferry.manifest import cutovers
from medferry.manifest.clock import read_clock, seconds_between
from medferry.manifest.cutovers import UnitStage
from medferry.manifest.feeds import FeedKind, feeds_of
from medferry.manifest.held_back import held_back_of
from medferry.manifest.left_behind import left_behind_by, unproven_of
from medferry.plan.questions import wave_ids
from medferry.runtime.environment import Environment
from medferry.sync.reverse_cycle import returning_types
from medferry.sync.wave import shut_units

LATE_SECONDS = 300.0
"""The way back of units in Medplum is late when it has not looked for so long."""


@dataclass(frozen=True, slots=True)
class UnitStatus:
    """A unit: what its gates say, what the manifest remembers, and the epoch of its legacy gate.

    `place` is None where it cannot be told, and `fault` says why.
    """

    unit: str
    place: Place | None
    legacy: str
    medplum: str
    stage: str
    epoch: int | None
    since: str
    fault: str = ""


@dataclass(frozen=True, slots=True)
class WaveCutover:
    """A wave. `unsafe`: why a rollback now could lose what users wrote; of a wave that is not flipped there is none.

    `running`: the direction of an attempt that came to no end. `unproven`: what kept the newest rollback back;
    `left_behind`: what it has left in Medplum for people to do by hand → who decided so, and why.
    """

    wave: str
    units: list[UnitStatus]
    running: str
    unsafe: list[str]
    unproven: list[str] = field(default_factory=list)
    left_behind: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def cutover_status(environment: Environment) -> list[WaveCutover]:
    """Of every wave of the plan. Raises SettingsError where Medplum is not configured."""
    plan, name = environment.migration.plan, environment.migration.name
    with environment.medplum() as client:
        gates = Gates(environment, client)
        with environment.manifest.begin() as connection:
            stages = cutovers.stages_of(connection, name)
            running = {one.wave: one.direction.value for one in cutovers.running_attempts(connection, name)}
        found, there = [], shut_units(environment)
        for wave in wave_ids(plan):
            units = plan.units_of_wave(wave) if plan.waves else plan.unit_ids
            own = [unit for unit in units if not plan.waves or unit not in plan.shared_units or unit in there]
            with environment.manifest.begin() as connection:
                unsafe = _unsafe(connection, environment, wave, {*own} & there)
                unproven = sorted(unproven_of(connection, name, wave))
                left = {what: one.decision for what, one in left_behind_by(connection, name, wave).items()}
            told = {what: f"{decision.person}: {decision.note}" for what, decision in left.items()}
            each = [_unit(gates, unit, stages) for unit in own]
            found.append(WaveCutover(wave, each, running.get(wave, ""), unsafe, unproven, told))
        return found


def _unit(gates: Gates, unit: str, stages: dict[str, cutovers.UnitRow]) -> UnitStatus:
    memo = stages.get(unit)
    stage, since = (memo.stage.value, memo.since) if memo else (UnitStage.LEGACY.value, "")
    try:
        legacy = gates.legacy_of([unit])[unit]
    except MedferryError as error:
        return UnitStatus(unit, None, "unknown", "unknown", stage, None, since, error.problem)
    try:
        medplum = gates.medplum.read(unit)
    except MedferryError as error:
        return UnitStatus(unit, None, legacy.state.value, "unknown", stage, legacy.epoch, since, error.problem)
    place = place_of(legacy, medplum)
    fault = "it can be written in both systems" if place is Place.BOTH else ""
    if (place is Place.MEDPLUM and stage != UnitStage.MEDPLUM) or (
        memo and stage == UnitStage.MEDPLUM and place is not Place.MEDPLUM
    ):
        fault = f"the manifest remembers {stage}"
    state = medplum.state.value
    return UnitStatus(unit, place, legacy.state.value, state, stage, legacy.epoch, since, fault)


def _unsafe(connection: sa.Connection, environment: Environment, wave: str, units: Collection[str]) -> list[str]:
    """Why what was written in Medplum may not all be in the legacy database, or not in time."""
    if not units:
        return []
    name, reasons = environment.migration.name, []
    if held := held_back_of(connection, name, {*units, *environment.migration.plan.shared_units}):
        reasons.append(f"{len(held)} write(s) of users are not in the legacy database: `medferry sync status`")
    polled = {feed.name.resource_type: feed for feed in feeds_of(connection, name, wave)
              if feed.name.kind is FeedKind.POLL}  # fmt: skip
    present = read_clock(connection)
    for kind in returning_types(environment):
        if kind not in polled:
            reasons.append(f"changes of {kind} are not read back")
        elif (age := seconds_between(polled[kind].moved_at, present)) > LATE_SECONDS:
            reasons.append(f"changes of {kind} were last read {age:.0f} s ago")
    return reasons
