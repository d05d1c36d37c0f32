"""Read parity: the same questions to both systems about a sample of patients; answers and latency are compared.

An answer is the source keys of the records that a system names: no value is kept or told. The legacy database is asked
by the checks' own SQL, Medplum by its search, as applications do it, which verification by id does not show.
"""

from __future__ import annotations

import hashlib
import heapq
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import median
from typing import Any, TypeVar

from medferry.charts.links import Links
from medferry.definition.checks import Check
from medferry.definition.tables import ApprovedTable
from medferry.errors import VerificationFailed
from medferry.manifest.crosswalk import find_targets
from medferry.manifest.subject import Records, Subject, present_keys
from medferry.mapping.declare import MAIN
from medferry.mapping.outcomes import Disposition
from medferry.medplum.client import MedplumClient
from medferry.runtime.environment import Environment
from medferry.source.shown_keys import shown_key
from medferry.sync.in_flight import records_in_flight, waves_in_step
from medferry.sync.wave import SyncedWave, check_wave
from medferry.verification.identity import values_of
from medferry.verification.legacy import condition
from medferry.verification.options import Sampling
from medferry.verification.scope import VerificationScope, scope_of_subject
from medferry.verification.second_look import PATIENCE_SECONDS, PAUSE_SECONDS

PATIENTS = 10
_ACTIVE = "active"
_PATIENT_PARAMETER = "patient"

T = TypeVar("T")


class AnswersDiffer(VerificationFailed):
    """Both systems were asked the same, and did not say the same."""


@dataclass(frozen=True, slots=True)
class Question:
    """About one patient: all that an entity has of it, or only what is active (by `narrowed`)."""

    name: str
    entity: str
    patient: str
    place: str
    form: tuple[tuple[str, str], ...] = ()
    narrowed: Callable[[dict[str, Any]], bool] = lambda _: True
    """Of a legacy row, by the checks' expressions."""


@dataclass
class Parity:
    """What was asked. Times in seconds; `differing`: "question: entity key" of each key that one system alone names."""

    patients: int = 0
    legacy: list[float] = field(default_factory=list)
    medplum: list[float] = field(default_factory=list)
    keys: int = 0
    differing: list[str] = field(default_factory=list)
    in_flight: int = 0

    def text(self) -> str:
        """For the records: counts and latencies."""
        told = f"{len(self.legacy)} questions about {self.patients} patients, {self.keys:,} records named"
        moving = f"; {self.in_flight} answer(s) on their way" if self.in_flight else ""
        return f"{told}; legacy database {_latency(self.legacy)}, Medplum {_latency(self.medplum)}{moving}"


def require_parity(environment: Environment, wave_id: str) -> str:
    """Ask, and tell of it. Raises AnswersDiffer, also where nothing could be asked of what ought to be."""
    parity = ask_both(environment, wave_id)
    remedy = (
        f"See whether they say the same now: `medferry safety {wave_id}`, `medferry verify`; mend it, or roll back."
    )
    if parity.differing:
        some = "; ".join(parity.differing[:5])
        raise AnswersDiffer(f"{len(parity.differing)} record(s) are named by one system alone: {some}.", remedy)
    return parity.text() if parity.legacy else "0 questions: no entity's checks refer to a patient that is here"


def ask_both(environment: Environment, wave_id: str, number: int = PATIENTS) -> Parity:
    """Of `number` of the wave's patients, always the same ones as long as these are there. Reads only."""
    check_wave(environment.migration.plan, wave_id)
    wave = SyncedWave(environment, wave_id)
    scope = scope_of_subject(environment, Subject(units=tuple(wave.units)), Sampling())
    links, waves, parity = Links(scope), waves_in_step(environment), Parity()
    with environment.medplum() as client:
        patients = _sample(scope, links.patient, number)
        parity.patients = len(patients)
        asker = _Asker(wave, links, client, parity)
        differing = {}
        for question in _questions(links, patients):
            if found := asker.differences(question):
                differing[question] = found
        _again(asker, differing, partial(records_in_flight, waves, client))
    return parity


def _again(asker: _Asker, differing: Mapping[Question, set[str]], motion: Callable[[], Mapping[str, Any]]) -> None:
    """What differs is asked once more when what is on its way has had the time to arrive."""
    until = time.monotonic() + PATIENCE_SECONDS
    while differing and time.monotonic() < until:
        moving = motion()
        if not any(keys & {*moving.get(question.entity, ())} for question, keys in differing.items()):
            break
        time.sleep(PAUSE_SECONDS)
    for question, first in differing.items():
        before = {*motion().get(question.entity, ())}
        second = asker.differences(question) & first
        counts = second - before - {*motion().get(question.entity, ())}
        asker.parity.in_flight += not counts
        asker.parity.differing += [
            f"{question.name}: {question.entity} {shown_key(question.entity, key)}" for key in sorted(counts)
        ]


@dataclass(frozen=True)
class _Asker:
    wave: SyncedWave
    links: Links
    client: MedplumClient
    parity: Parity

    def differences(self, question: Question) -> set[str]:
        """The keys that one of the two names, and the other does not."""
        here, seconds = _timed(lambda: self._legacy(question))
        self.parity.legacy.append(seconds)
        there, seconds = _timed(lambda: self._medplum(question))
        self.parity.medplum.append(seconds)
        self.parity.keys += len(here | there)
        return self._own(question.entity, here ^ there)

    def _legacy(self, question: Question) -> set[str]:
        legacy, checks = self.links.legacy(question.entity), self.links.scope.checks(question.entity)
        assert checks is not None
        [sql] = _straight(self.links, question.entity)
        rows = legacy.values(list(legacy.referring(sql, [question.patient])))
        when = condition(checks.resources[MAIN].when)
        return {key for key, row in rows.items() if row[when] and question.narrowed(row)}

    def _medplum(self, question: Question) -> set[str]:
        scope = self.links.scope
        system, kind = scope.systems(question.entity)[MAIN], scope.type_of(question.entity, MAIN)
        found = self.client.search_all(kind, [(_PATIENT_PARAMETER, question.place), *question.form])
        return {key for one in found for key in values_of(one, system)}

    def _own(self, entity: str, keys: set[str]) -> set[str]:
        """Of the wave, and not left behind: what is known to be in no system but one is told by other gates."""
        states = self.wave.states(entity, keys)
        units = {row.key: row.unit for row in self.links.legacy(entity).rows_by_key(sorted(keys - states.keys()))}
        return {
            key
            for key in keys
            if (states[key].unit if key in states else units.get(key, self.wave.units[0])) in self.wave.units
            and not (key in states and states[key].disposition != Disposition.SUCCESSFUL)
        }


def _sample(scope: VerificationScope, patient: str, number: int) -> dict[str, str]:
    """Patient's key → its place in Medplum; by a hash of the key, so that nobody chooses."""
    records = Records(scope.migration.name, units=scope.subject.units)
    keys = (key for page in present_keys(scope.environment.manifest, records, patient) for key in page)
    chosen = heapq.nsmallest(number * 2, keys, lambda key: hashlib.sha256(key.encode()).digest())
    system = scope.migration.naming.system(patient, MAIN)
    with scope.environment.manifest.begin() as connection:
        known = find_targets(connection, scope.migration.name, [(system, key) for key in chosen])
    there = [(key, known[system, key]) for key in chosen if (system, key) in known]
    return {key: f"Patient/{entry.medplum_id}" for key, entry in there[:number]}


def _questions(links: Links, patients: Mapping[str, str]) -> list[Question]:
    """Of every entity whose checks refer straight to a patient, about each patient."""
    asked = []
    for entity in links.entities:
        checks = links.scope.checks(entity)
        if checks is None or len(_straight(links, entity)) != 1 or MAIN not in checks.resources:
            continue
        kind = links.scope.type_of(entity, MAIN)
        for patient, place in patients.items():
            whole = Question(f"{kind} of a patient", entity, patient, place)
            asked += [whole, *_active(links, checks.checks(MAIN), whole)]
    return asked


def _active(links: Links, checks: Sequence[Check], of: Question) -> list[Question]:
    """The question for what is active, where the checks say how the legacy database tells."""
    for check in checks:
        if check.path == "clinicalStatus.coding" and check.sql and check.table and not check.where:
            table = links.scope.migration.checks.tables[check.table]
            form = (("clinical-status", _ACTIVE),)
            return [replace(of, name=f"active {of.name}", form=form, narrowed=partial(_is_active, table, check.sql))]
    return []


def _is_active(table: ApprovedTable, sql: str, row: Mapping[str, Any]) -> bool:
    target = table.target(str(row[sql]).strip()) if row[sql] is not None else None
    return target is not None and target[1] == _ACTIVE


def _straight(links: Links, entity: str) -> list[str]:
    checks = links.scope.checks(entity)
    every = [one for slot in checks.resources for one in checks.checks(slot)] if checks else []
    found = {
        one.sql
        for one in every
        if one.compare == "reference" and not one.further_sql and one.entity == links.patient and one.sql
    }
    return sorted(found)


def _timed(ask: Callable[[], T]) -> tuple[T, float]:
    began = time.perf_counter()
    return ask(), time.perf_counter() - began


def _latency(seconds: Sequence[float]) -> str:
    return f"{1000 * median(seconds):.0f} ms (at most {1000 * max(seconds):.0f})" if seconds else "-"
