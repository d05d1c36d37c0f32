"""Rehearse a wave's cutover against another Medplum: the acts of a freeze, timed; nothing closes, nothing flips."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from math import inf
from pathlib import Path

from medferry.cutover.acts import FORTH, Act, Place, all_among
from medferry.cutover.dry_run import DryRun
from medferry.cutover.gates import Gates
from medferry.cutover.hooks import Keys
from medferry.cutover.rehearsal import RehearsedSwitch
from medferry.cutover.switch import AGAIN, VERIFIED
from medferry.governance.forecast import FLIP, Span
from medferry.manifest.checks import resources_read
from medferry.manifest.cutovers import Direction
from medferry.manifest.rehearsals import Measured, record_rehearsal
from medferry.manifest.subject import Subject
from medferry.medplum.client import MedplumClient
from medferry.runtime.environment import Environment
from medferry.runtime.rehearsal import NeverInRehearsal, check_apart
from medferry.sync.wave import SyncedWave
from medferry.verification.options import VerifyOptions
from medferry.workflows.cutover import (
    Choice,
    Otherwise,
    caught_up,
    freeze_seconds,
    units_to_move,
)
from medferry.workflows.cutover_proof import passed, verified
from medferry.workflows.readiness_facts import Facts
from medferry.workflows.sync import checked_wave
from medferry.workflows.verify_in_step import verify_present

_LONGEST = 10
"""So many times the longest freeze a rehearsal goes on: it is to measure what is too long, too."""


def rehearse(environment: Environment, rehearsal: Environment, wave_id: str, choice: Choice) -> Measured:
    """Measure what a freeze of the wave would take, and record it for the real migration. `rehearsal`: `rehearsal_of`.

    It keeps no real cutover or rollback waiting: one that moves anything meanwhile makes it no rehearsal. Raises
    NeverInRehearsal, and then nothing is recorded; Otherwise where the wave is not written in the legacy system;
    CutoverBusy, TooLong, VerificationFailed, NeverLoaded, NeverSwept.
    """
    with environment.medplum() as real, rehearsal.medplum() as client:
        check_apart(environment, rehearsal, client)
        gates = Gates(environment, real)
        units = units_to_move(environment, SyncedWave(environment, wave_id), Direction.FORTH)
        if not all_among(gates.places(units).values(), (Place.LEGACY, Place.BOTH)):
            raise Otherwise(f"The wave {wave_id} is frozen or has moved.", "Look: `medferry cutover status`.")
        before = _held(gates)
        measured = _measure(gates, checked_wave(rehearsal, wave_id), client, units, choice)
        if _held(gates) != before:
            raise NeverInRehearsal(
                "A gate, a policy or the routing of the real migration changed during the rehearsal.",
                "Look at once (`medferry cutover status`, `medferry routing check`); the rehearsal is not recorded.",
            )
        migration = environment.migration
        with environment.manifest.begin() as connection:
            record_rehearsal(connection, migration.name, wave_id, measured, migration.fingerprint, choice.person)
        return measured


def _measure(gates: Gates, wave: SyncedWave, client: MedplumClient, units: Sequence[str], choice: Choice) -> Measured:
    environment, freeze = wave.environment, freeze_seconds(gates.environment, units, choice)
    caught_up(wave, choice)
    notes = verified(environment, wave, choice.clock)
    forecast = Facts(environment, wave.id).forecast
    acting = RehearsedSwitch(
        DryRun(wave, gates, units, freeze, choice.patience, choice.tell),
        wave,
        client,
        str(notes[VERIFIED]),
        notes[AGAIN],  # type: ignore[arg-type]
        lambda keys: _verified(environment, keys),
        freeze * _LONGEST,
        choice.tell,
        choice.clock,
    )
    for act in FORTH:
        acting.perform(act)
    return _measured(acting, forecast)


def _measured(acting: RehearsedSwitch, forecast: Sequence[Span]) -> Measured:
    """What a rehearsal cannot do is taken as long as it may be: waiting for those who write, and the acts that flip."""
    drain = next(span for span in forecast if span.name == "drain")
    parts = {Act.CLOSE_LEGACY: drain.high, **acting.seconds, Act.SHUT_LEGACY: FLIP[-1]}
    whole = forecast[-1].probable
    rounded = {str(act): round(seconds, 3) for act, seconds in parts.items()}
    return Measured(
        round(sum(parts.values()), 3),
        None if whole == inf else round(whole, 3),
        rounded,
        acting.caught_up,
        acting.checked,
    )


def _verified(environment: Environment, keys: Keys) -> tuple[str, int]:
    """While users write: what is on its way is looked at twice. Raises VerificationFailed."""
    subject = Subject(keys={name: sorted(some) for name, some in sorted(keys.items())})
    found = verify_present(environment, subject, options=VerifyOptions(force=True))
    told = passed(found, "what has changed")
    with environment.manifest.begin() as connection:
        return told, resources_read(connection, found.id)


def _held(gates: Gates) -> tuple[object, ...]:
    """What a rehearsal must leave as it is: gates, policies, routing."""
    plan, file = gates.environment.migration.plan, gates.environment.settings.routing_file
    legacy = {unit: (gate.epoch, gate.state) for unit, gate in gates.legacy_of(plan.unit_ids).items()}
    medplum = {unit: gates.medplum.read(unit) for unit in plan.unit_ids if gates.medplum.rules.of_unit(unit)}
    routing = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file and Path(file).is_file() else ""
    return legacy, medplum, routing
