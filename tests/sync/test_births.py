"""What users create in Medplum gets a row in the legacy database: one, whatever dies in between, and no second twin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from medferry.definition.gate import PROBE, tag_system
from medferry.manifest.births import open_births
from medferry.manifest.crosswalk import find_targets
from medferry.plan.authority import AuthorityMatrix
from medferry.source.births import BORN
from medferry.sync import adopt, reverse_born
from medferry.sync.aside import entities_of
from medferry.sync.cycle import Cycle, cycle
from medferry.sync.reverse_cycle import back_cycle, pending_back
from medferry.sync.wave import SyncedWave
from tests.sync.conftest import Write, families
from tests.sync.taking_births import PATIENTS, births_wave, rows
from tests.sync.test_cycle import Killed, ends, reason
from tests.sync.test_reverse_cycle import held, looked_at_again

Resource = dict[str, Any]
PERSON: Resource = {
    "resourceType": "Patient",
    "identifier": [{"system": "https://other.example", "value": "77"}],
    "name": [{"family": "Ito"}],
    "birthDate": "2001-02-03",
    "gender": "female",
    "telecom": [{"system": "phone", "value": "555"}],
}


class Users:
    """Those who work in Medplum."""

    def __init__(self, wave: SyncedWave) -> None:
        self.wave = wave
        self.system = wave.environment.migration.naming.system("patient")

    def send(self, method: str, url: str, resource: Resource | None = None) -> str:
        entry = {"request": {"method": method, "url": url}, **({"resource": resource} if resource else {})}
        with self.wave.environment.medplum() as client:
            [outcome] = client.batch([entry], 100)
        assert outcome.status in (200, 201)
        return outcome.id

    def id_of(self, entity: str, key: str) -> str:
        name = (self.wave.environment.migration.naming.system(entity), key)
        with self.wave.environment.manifest.begin() as connection:
            return find_targets(connection, "tiny", [name])[name].medplum_id

    def create(self, **members: Any) -> str:
        organization = {"reference": f"Organization/{self.id_of('clinic', '1')}"}
        whole = {**PERSON, "managingOrganization": organization, **members}
        return self.send("POST", "Patient", {name: value for name, value in whole.items() if value})

    def weigh(self, patient: str, kg: float = 50.5) -> str:
        code = {"coding": [{"system": "http://loinc.org", "code": "29463-7", "display": "Body weight"}]}
        quantity = {"value": kg, "unit": "kg", "system": "http://unitsofmeasure.org", "code": "kg"}
        weight = {"resourceType": "Observation", "status": "final", "code": code, "valueQuantity": quantity}
        at = {"effectiveDateTime": "2026-05-01T08:30:00-04:00"}
        return self.send("POST", "Observation", {**weight, **at, "subject": {"reference": f"Patient/{patient}"}})

    def read(self, kind: str, id_: str) -> Resource:
        with self.wave.environment.medplum() as client:
            return client.by_id(kind, [id_])[id_]


@pytest.fixture
def taking(wave: SyncedWave) -> SyncedWave:
    return births_wave(wave)


@pytest.fixture
def users(taking: SyncedWave) -> Users:
    return Users(taking)


def lines(wave: SyncedWave) -> int:
    with wave.environment.source.connect() as connection:
        return int(connection.scalar(sa.text(f"SELECT count(*) FROM {BORN}")) or 0)


def notes(wave: SyncedWave) -> int:
    with wave.environment.manifest.begin() as connection:
        return len(open_births(connection, "tiny"))


def test_a_birth_gets_one_row_and_the_row_s_identifier(taking: SyncedWave, users: Users) -> None:
    id_ = users.create()
    done = back_cycle(taking)
    assert (done.born, done.held) == (Counter(Patient=1), [])
    assert rows(taking) == [(9, "north", 1, "Ito", "2001-02-03", "F")]
    born = users.read("Patient", id_)
    assert born["identifier"] == [{"system": users.system, "value": "9"}, PERSON["identifier"][0]]
    assert born["telecom"] == PERSON["telecom"]
    assert (lines(taking), notes(taking), users.id_of("patient", "9"), held(taking)) == (1, 0, id_, set())
    assert ends(cycle(taking)) == Counter(successful=1), "the journal has the row, and it is passed over"
    assert cycle(taking) == Cycle()
    again = back_cycle(taking)
    assert (again.born, again.written) == (Counter(), Counter())
    assert (len(rows(taking)), families(taking.environment)["9"]) == (1, "Ito")


def test_what_a_cycle_would_insert_is_told_before_and_nothing_is_written(taking: SyncedWave, users: Users) -> None:
    patient = users.create()
    weight, nobody = users.weigh(patient), users.create(gender="other")
    told = pending_back(taking)
    assert told.born == Counter(Patient=1)
    assert told.inserts == {"patient": Counter(clinic_id=1, family=1, born=1, sex=1)}
    assert {(one.place, one.reason) for one in told.held} == {
        (f"Patient/{nobody}", "no-local-code"),
        (f"Observation/{weight}", "waits-for-birth"),
    }
    assert (rows(taking), lines(taking), notes(taking), held(taking)) == ([], 0, 0, set())
    done = back_cycle(taking)
    assert done.born == Counter(Patient=1, Observation=1)
    assert pending_back(taking).born == Counter()


def test_later_changes_go_both_ways(taking: SyncedWave, users: Users, write: Write) -> None:
    id_ = users.create()
    back_cycle(taking)
    users.send("PUT", f"Patient/{id_}", {**users.read("Patient", id_), "birthDate": "2001-02-04"})
    assert back_cycle(taking).written == Counter(patient=1)
    assert rows(taking)[0][4] == "2001-02-04"
    write("UPDATE patient SET family = 'Ono' WHERE id = 9")
    cycle(taking)
    born = users.read("Patient", id_)
    assert (born["name"][0]["family"], born["birthDate"], born["telecom"]) == (
        "Ono",
        "2001-02-04",
        PERSON["telecom"],
    )
    assert reason(taking, "patient", "9") == ""


def test_what_was_moved_to_another_patient_is_not_written_into_the_row_of_this_one(
    taking: SyncedWave, users: Users
) -> None:
    """The inverse of the weights has no column for a subject but where it makes a row."""

    def edit(patient: str, kg: float) -> Cycle:
        observation = users.read("Observation", weight)
        quantity = {**observation["valueQuantity"], "value": kg}
        subject = {"reference": f"Patient/{users.id_of('patient', patient)}"}
        users.send("PUT", f"Observation/{weight}", {**observation, "subject": subject, "valueQuantity": quantity})
        return back_cycle(taking)

    weight, statement = users.id_of("weight", "0"), "SELECT patient_id, kg FROM weight WHERE id = 0"
    with taking.environment.source.connect() as connection:
        before = connection.exec_driver_sql(statement).one()
    of_another = {("0", "subject", "of-another-patient"), ("0", "subject.reference", "comes-back-otherwise")}
    for kg in (88.8, 88.9):
        done = edit("2", kg)
        assert (done.written, held(taking)) == (Counter(), of_another)
        assert {one.detail for one in done.held} == {"kg", ""}
        cycle(taking)
        with taking.environment.source.connect() as connection:
            assert connection.exec_driver_sql(statement).one() == before
    assert (edit("1", 88.8).written, held(taking)) == (Counter(weight=1), set())
    with taking.environment.source.connect() as connection:
        assert float(connection.exec_driver_sql(statement).one()[1]) == 88.8


def test_what_is_new_waits_for_what_it_refers_to(taking: SyncedWave, users: Users) -> None:
    patient = users.create(gender="other", identifier=None)  # the legacy system has no code for it
    weight = users.weigh(patient)
    back_cycle(taking)
    place = f"Observation/{weight}"
    assert held(taking) == {(f"Patient/{patient}", "gender", "no-local-code"), (place, "", "waits-for-birth")}
    assert (rows(taking), lines(taking)) == ([], 0)
    users.send("PUT", f"Patient/{patient}", {**users.read("Patient", patient), "gender": "male"})
    looked_at_again(taking)
    assert back_cycle(taking).born == Counter(Patient=1, Observation=1)
    assert (rows(taking)[0][:2], held(taking)) == ((9, "north"), set())
    [(_, unit, of, kg, at)] = rows(taking, "weight", 39)
    assert (unit, of, float(kg), str(at)[:19]) == ("north", 9, 50.5, "2026-05-01 08:30:00")
    cycle(taking)
    assert families(taking.environment)["9"] == "Ito"


def test_whose_unit_is_not_known_or_not_one_is_told(taking: SyncedWave, users: Users) -> None:
    south = {"reference": f"Organization/{users.id_of('clinic', '2')}"}
    of_two = users.create(contact=[{"organization": south}])
    of_none = users.create(managingOrganization={"reference": f"Organization/{users.id_of('clinic', '3')}"})
    nobody_s = users.create(managingOrganization=None)
    back_cycle(taking)
    assert held(taking) == {(f"Patient/{one}", "", "no-one-unit") for one in (of_two, of_none, nobody_s)}
    assert rows(taking) == []


def test_where_legacy_alone_is_written_it_is_told(taking: SyncedWave, users: Users) -> None:
    id_ = users.create()
    plan = taking.environment.migration.plan.model_copy(update={"authority": AuthorityMatrix()})
    migration = replace(taking.environment.migration, plan=plan)
    back_cycle(SyncedWave(replace(taking.environment, migration=migration), taking.id))
    assert (held(taking), rows(taking)) == ({(f"Patient/{id_}", "", "against-authority")}, [])


def test_a_birth_that_is_deleted_before_its_row_leaves_nothing(taking: SyncedWave, users: Users) -> None:
    id_ = users.create(gender="other")
    back_cycle(taking)
    users.send("DELETE", f"Patient/{id_}")
    looked_at_again(taking)
    back_cycle(taking)
    assert (held(taking), rows(taking), lines(taking)) == (set(), [], 0)


def test_what_a_probe_of_the_gates_creates_is_nobody_s(taking: SyncedWave, users: Users) -> None:
    base = taking.environment.migration.plan.base
    users.create(meta={"tag": [{"system": tag_system(base), "code": PROBE}]})
    ours = users.create(meta={"tag": [{"system": "https://other.example", "code": PROBE}]})
    done = back_cycle(taking)
    assert (done.born, done.held, len(rows(taking))) == (Counter(Patient=1), [], 1)
    assert users.id_of("patient", "9") == ours


# -- kills -----------------------------------------------------------------------------------------

ACTS = [
    (reverse_born, "note_birth", "after"),
    (reverse_born, "insert_row", "before"),
    (reverse_born, "insert_row", "after"),
    (adopt, "begin", "before"),
    (adopt, "begin", "after"),
    (adopt, "record_confirmed", "before"),
    (adopt, "close_birth", "after"),
]


def dying(act: Callable[..., Any], when: str) -> Callable[..., Any]:
    """An act at which the process dies, before it or after."""

    def dies(*given: Any, **more: Any) -> Any:
        if when == "after":
            act(*given, **more)
        raise Killed

    return dies


@pytest.mark.parametrize("way", ["back", "forth"])
def test_a_kill_at_any_act_makes_one_row_and_no_second_resource(taking: SyncedWave, users: Users, way: str) -> None:
    for number, (module, act, when) in enumerate(ACTS):
        id_ = users.create(name=[{"family": f"Kill {number}"}], identifier=None)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(module, act, dying(getattr(module, act), when))
            with pytest.raises(Killed):
                back_cycle(taking)
        if way == "forth":
            cycle(taking)
        looked_at_again(taking)
        back_cycle(taking)
        told = (act, when)
        assert [one[3] for one in rows(taking)] == [f"Kill {n}" for n in range(number + 1)], told
        assert users.id_of("patient", str(9 + number)) == id_, told
        assert (lines(taking), notes(taking), held(taking)) == (number + 1, 0, set()), told
    cycle(taking)
    found = families(taking.environment)
    assert [found[str(9 + number)] for number in range(len(ACTS))] == [f"Kill {n}" for n in range(len(ACTS))]
    with taking.environment.medplum() as client:
        assert client.count("Patient") == 3 + len(ACTS)


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_open_note_of_an_unreadable_entity_stops_neither_way(
    taking: SyncedWave, users: Users, write: Write, when: str
) -> None:
    id_ = users.create(identifier=None)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(reverse_born, "insert_row", dying(reverse_born.insert_row, when))
        with pytest.raises(Killed):
            back_cycle(taking)
    write("ALTER TABLE patient RENAME COLUMN born TO birth", "UPDATE weight SET kg = 71 WHERE id = 0")
    assert ends(cycle(taking)) == {"successful": 1}
    looked_at_again(taking)
    assert not back_cycle(taking).born
    assert (notes(taking), {one[2] for one in held(taking)}) == (1, {"entity-set-aside"})
    write("ALTER TABLE patient RENAME COLUMN birth TO born")
    looked_at_again(taking)
    cycle(taking)
    back_cycle(taking)
    assert (len(rows(taking)), notes(taking), users.id_of("patient", "9"), held(taking)) == (1, 0, id_, set())
    cycle(taking)
    assert families(taking.environment)["9"] == "Ito"


def test_a_function_of_the_migration_that_raises_holds_its_birth_back(wave: SyncedWave) -> None:
    def fits(resource: Resource, _: str) -> bool:
        return bool(resource["nowhere"])

    taking = births_wave(wave, replace(PATIENTS, fits=fits))
    Users(taking).create()
    assert not back_cycle(taking).born
    assert {one[2] for one in held(taking)} == {"inverse-error"}


def test_lines_that_cannot_be_read_stop_what_takes_births_alone(taking: SyncedWave, users: Users, write: Write) -> None:
    id_ = users.create(identifier=None)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(reverse_born, "insert_row", dying(reverse_born.insert_row, "after"))
        with pytest.raises(Killed):
            back_cycle(taking)
    write(f"ALTER TABLE {BORN} RENAME COLUMN made TO hidden", "UPDATE staff SET family = 'Roe' WHERE id = 1")
    assert ends(cycle(taking)) == {"successful": 1}, "the staff; of the patient nobody knows whose row it is"
    assert [one.entity for one in entities_of(taking)] == ["patient", "weight"], "both may be born in Medplum"
    ada = users.id_of("patient", "1")
    users.send("PUT", f"Patient/{ada}", {**users.read("Patient", ada), "birthDate": "1971-01-01"})
    done = back_cycle(taking)
    assert (done.born, done.written, notes(taking)) == (Counter(), Counter(), 1)
    assert ("1", "", "entity-set-aside") in held(taking)
    write(f"ALTER TABLE {BORN} RENAME COLUMN hidden TO made")
    cycle(taking)
    looked_at_again(taking)
    back_cycle(taking)
    assert (len(rows(taking)), notes(taking), users.id_of("patient", "9"), held(taking)) == (1, 0, id_, set())
    cycle(taking)
    assert entities_of(taking) == [] and cycle(taking) == Cycle()
