"""The allergies, medications and problems of a wave in both systems, now; what differs, with whose chart it is in."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial

from more_itertools import map_reduce

from medferry.charts.links import Links, NoPatients, patient_entity
from medferry.errors import MedferryError, VerificationFailed
from medferry.governance.safety import LOOK, SafetyFinding, SafetyLook, harms
from medferry.manifest.crosswalk import find_targets, places_of
from medferry.manifest.subject import Subject
from medferry.mapping.declare import MAIN
from medferry.runtime.environment import Environment
from medferry.runtime.legacy_home import check_legacy_if_it_answers
from medferry.runtime.systems import check_medplum_if_it_answers
from medferry.source.shown_keys import shown_key, shown_record
from medferry.sync.in_flight import records_in_flight, waves_in_step
from medferry.sync.wave import SyncedWave, check_wave
from medferry.verification.harm import Finding, clinical_entities, examine_harm
from medferry.verification.options import Sampling
from medferry.verification.scope import UnknownSubject, VerificationScope, scope_of_subject


class Unsafe(VerificationFailed):
    """An allergy, a medication or a problem was lost, altered, or came back."""


def wave_safety(environment: Environment, wave_id: str) -> SafetyLook:
    """Of a wave's patients, dead letters aside. Nothing is written. Raises NoSuchWave, MedferryError."""
    check_wave(environment.migration.plan, wave_id)
    return look_at_safety(environment, SyncedWave(environment, wave_id).units, ())


def require_safety(environment: Environment, wave_id: str) -> str:
    """What was compared, where nothing is lost, altered or back. Raises Unsafe, also where nothing could be compared.

    A migration that makes no such record is told so: the readiness has asked a named person about it.
    """
    look = wave_safety(environment, wave_id)
    if not look.entities:
        return "0 records compared: no mapping makes an allergy, a medication or a problem"
    remedy = f"{LOOK.replace('WAVE', wave_id)} The units are in Medplum: mend it there, or roll back."
    if look.findings:
        raise Unsafe(f"Clinical safety: {harms(look.findings)}; {look.evidence()}.", remedy)
    if look.unchecked or not look.compared or not look.by_value:
        raise Unsafe(f"Clinical safety could not be said: {'; '.join((*look.unchecked[:3], look.evidence()))}.", remedy)
    return look.evidence()


def look_at_safety(
    environment: Environment, units: Collection[str], dead: Sequence[tuple[str, str, str]]
) -> SafetyLook:
    """Of some units. `dead`: (entity, reason, key) of records that are known not to be in Medplum."""
    entities = clinical_entities(environment.migration.specs)
    missing = tuple(f"{entity}/{key}" for entity, _, key in dead)
    if not entities:
        return SafetyLook((), 0, 0, 0, missing, (), ())
    subject = Subject(units=tuple(units), entities=tuple(entities))
    try:
        scope = scope_of_subject(environment, subject, Sampling())
    except UnknownSubject:
        return SafetyLook(tuple(entities), 0, 0, 0, missing, (), ())
    waves = waves_in_step(environment)
    with environment.medplum() as client:
        check_medplum_if_it_answers(environment, client)
        check_legacy_if_it_answers(environment)
        found = examine_harm(scope, client, partial(records_in_flight, waves) if waves else None)
    left_out = [f"{name} was never loaded" for name in entities if name not in scope.units]
    unchecked = (*left_out, *(line for one in found for line in one.unchecked))
    return SafetyLook(
        tuple(scope.entities),
        sum(one.compared for one in found),
        sum(one.by_value for one in found),
        sum(one.in_flight for one in found),
        missing,
        tuple(unchecked),
        tuple(_with_charts(scope, [finding for one in found for finding in one.findings])),
    )


def shown_look(environment: Environment, look: SafetyLook) -> SafetyLook:
    """What was found, with the keys of records and patients as they may be shown."""
    try:
        patient = patient_entity(environment.migration.specs)
    except NoPatients:  # then nothing names one
        patient = ""
    findings = tuple(
        replace(one, key=shown_key(one.entity, one.key), patient=one.patient and shown_key(patient, one.patient))
        for one in look.findings
    )
    return replace(look, dead=tuple(shown_record("all", one) for one in look.dead), findings=findings)


def _with_charts(scope: VerificationScope, findings: Sequence[Finding]) -> list[SafetyFinding]:
    by_entity = map_reduce(findings, lambda one: one.entity)
    patients = {name: _patients(scope, name, [one.key for one in some]) for name, some in by_entity.items()}
    charts = _charts(scope, {key for of in patients.values() for key in of.values()})
    places = {name: _places(scope, name, [one.key for one in some]) for name, some in by_entity.items()}
    found = []
    for one in findings:
        patient = patients[one.entity].get(one.key, "")
        place = one.place or places[one.entity].get(one.key, "")
        told = (one.harm.value, one.entity, one.key, place, one.checks)
        found.append(SafetyFinding(*told, patient, charts.get(patient, "")))
    return found


def _places(scope: VerificationScope, entity: str, keys: Sequence[str]) -> dict[str, str]:
    """Key → where the crosswalk has one of its resources."""
    with scope.environment.manifest.begin() as connection:
        return dict(places_of(connection, scope.migration.name, entity, keys))


def _patients(scope: VerificationScope, entity: str, keys: Sequence[str]) -> dict[str, str]:
    """Key → the patient's, by the legacy rows; what has no row any more is told without."""
    try:
        return Links(scope).patients_of(entity, keys)
    except (NoPatients, MedferryError):
        return {}


def _charts(scope: VerificationScope, patients: Collection[str]) -> dict[str, str]:
    """Patient's key → its place in Medplum."""
    if not patients:
        return {}
    system = scope.migration.naming.system(Links(scope).patient, MAIN)
    with scope.environment.manifest.begin() as connection:
        known = find_targets(connection, scope.migration.name, [(system, key) for key in patients])
    return {key: f"Patient/{entry.medplum_id}" for (_, key), entry in known.items()}
