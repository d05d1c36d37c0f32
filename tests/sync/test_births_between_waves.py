"""What users create in Medplum gets its row though its wave looked at it when it was not yet its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from medferry.manifest.held_back import HeldReason, held_back_of, hold_back_new
from medferry.manifest.subject import Subject
from medferry.sync.cycle import cycle
from medferry.sync.reverse_cycle import back_cycle, pending_back
from medferry.sync.sweeping import sweep_wave
from medferry.sync.wave import SyncedWave
from medferry.verification.born import NO_ROW
from medferry.workflows.verify_in_step import verify_present
from tests.sync.conftest import FREE, Write
from tests.sync.taking_births import births_wave, rows
from tests.sync.test_births import Users
from tests.sync.test_moving import with_units
from tests.sync.test_reverse_cycle import held, looked_at_again

PASSED, NO_UNIT = HeldReason.PASSED.value, HeldReason.NO_UNIT.value


@pytest.fixture
def taking(wave: SyncedWave) -> SyncedWave:
    return births_wave(wave)


@pytest.fixture
def users(taking: SyncedWave) -> Users:
    return Users(taking)


@pytest.fixture
def other(taking: SyncedWave) -> SyncedWave:
    """The second wave of the same platform, in step both ways as well."""
    other = SyncedWave(taking.environment, "rest")
    sweep_wave(other, FREE)
    back_cycle(other)
    return other


def weights(wave: SyncedWave) -> list[tuple[Any, ...]]:
    return [row[1:3] for row in rows(wave, "weight", 39)]


def test_a_record_that_moves_between_two_looks_takes_what_was_written_about_it_along(
    taking: SyncedWave, other: SyncedWave, users: Users, write: Write
) -> None:
    weight = users.weigh(users.id_of("patient", "1"))
    assert back_cycle(other).born == {}, "not its yet"
    write("UPDATE patient SET unit = 'south', clinic_id = 2 WHERE id = 1")
    cycle(other)
    assert pending_back(taking).held[-1].reason == PASSED
    assert back_cycle(taking).born == {}, "its no more"
    assert held(other) == {(f"Observation/{weight}", "", PASSED)}
    assert back_cycle(other).born == {"Observation": 1}
    for wave in (taking, other, taking, other):
        looked_at_again(wave)
        assert back_cycle(wave).born == {}
        assert held(wave) == set()
    assert weights(other) == [("south", 1)]


def test_a_unit_that_joins_a_wave_brings_what_was_created_there_along(
    taking: SyncedWave, other: SyncedWave, users: Users
) -> None:
    users.create()
    back_cycle(other)
    joined = SyncedWave(with_units(taking.environment, pilot=[], rest=["north", "south"]), "rest")
    sweep_wave(joined, FREE)
    assert back_cycle(joined).born == {"Patient": 1}
    assert len(rows(joined)) == 1


@pytest.mark.parametrize("first", ["taking", "other"])
def test_what_is_of_no_unit_yet_gets_its_row_when_it_is(
    taking: SyncedWave, other: SyncedWave, users: Users, first: str
) -> None:
    patient = users.create(managingOrganization=None)
    weight = users.weigh(patient)
    waves = [taking, other] if first == "taking" else [other, taking]
    for wave in waves:
        back_cycle(wave)
    assert held(taking) == {(f"Patient/{patient}", "", NO_UNIT), (f"Observation/{weight}", "", NO_UNIT)}
    organization = {"reference": f"Organization/{users.id_of('clinic', '1')}"}
    resource = {**users.read("Patient", patient), "managingOrganization": organization}
    users.send("PUT", f"Patient/{patient}", resource)
    for wave in waves * 2:
        looked_at_again(wave)
        back_cycle(wave)
    assert {key for key, _, _ in held(taking)} <= {"9"}, "what of the row has no place, but nothing without a row"
    assert (len(rows(taking)), weights(taking)) == (1, [("north", 9)])


def test_what_its_own_wave_has_told_is_not_told_otherwise(taking: SyncedWave, other: SyncedWave, users: Users) -> None:
    place = f"Patient/{users.create(gender='other')}"
    back_cycle(taking)
    told = held(taking)
    back_cycle(other)
    assert held(taking) == told == {(place, "gender", "no-local-code")}
    migration = taking.environment.migration
    with taking.environment.manifest.begin() as connection:
        [line] = held_back_of(connection, migration.name, taking.units)
        new = replace(line, key="Patient/new", place="Patient/new")
        for one in (replace(line, reason=PASSED), new, replace(new, reason=NO_UNIT)):
            hold_back_new(connection, migration.name, migration.fingerprint, [one])
        assert held_back_of(connection, migration.name, taking.units) == [line, new]


def test_a_verification_counts_what_has_no_row(taking: SyncedWave, users: Users) -> None:
    def told(unit: str) -> list[str]:
        found = verify_present(taking.environment, Subject(units=(unit,))).verdict
        return [example for one in found.unresolved if one.name == NO_ROW for example in one.examples]

    assert told("north") == []
    place = f"Patient/{users.create(gender='other')}"
    back_cycle(taking)
    assert (told("north"), told("south")) == ([f"{place} gender no-local-code"], [])
