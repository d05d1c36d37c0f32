"""Both systems are used: what one side alone changed is kept, of either; what both changed otherwise is a person's."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from embedded_medplum.server import EmbeddedMedplum
from medferry.apply.chunk import ChunkLoader
from medferry.errors import VerificationFailed
from medferry.governance.register import is_fault
from medferry.manifest.subject import Subject
from medferry.manifest.tables import source_record, target
from medferry.manifest.unchanged import forget_digests
from medferry.manifest.unit_state import states_of
from medferry.medplum.client import MedplumClient
from medferry.runtime.environment import Environment
from medferry.sync import carry_out
from medferry.sync.cycle import cycle
from medferry.sync.wave import SyncedWave
from medferry.verification.run import verify_subject
from tests.sync.conftest import Write
from tests.sync.test_cycle import Killed, ends, ledger, reason
from tests.workflows.test_migrate import migrate

Resource = dict[str, Any]
PHONE = {"telecom": [{"system": "phone", "value": "555"}]}
UPDATED, UNCHANGED = {"patient": {"updated": 1}}, {"patient": {"unchanged": 1}}
WRITES = {"method": "POST", "path": "/fhir/R4/?$", "entries": "writes"}
OTHER = {"author": {"reference": "Practitioner/user"}}


class User:
    """Somebody who works in Medplum on the patient 1; its history says so, which the embedded one could not."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.system = environment.migration.naming.system("patient")
        self.written: set[str] = set()

    @property
    def patient(self) -> Resource:
        with self.environment.medplum() as client:
            [found] = client.search_all("Patient", [("identifier", f"{self.system}|1")])
        return found

    @property
    def content(self) -> Resource:
        """Family, birth date, gender and phone of the patient, of those that are there."""
        patient = self.patient
        content = {name: patient[name] for name in ("birthDate", "gender", *PHONE) if name in patient}
        return {"family": patient["name"][0]["family"], **content}

    def put(self, **members: Any) -> None:
        present = self.patient
        kept = {"meta": {"tag": present["meta"]["tag"]}} if "tag" in present["meta"] else {}
        if "source" in present["meta"]:
            kept = {"meta": {**kept.get("meta", {}), "source": present["meta"]["source"]}}
        changed = {name: value for name, value in {**present, "meta": None, **kept, **members}.items() if value}
        entry = {"resource": changed, "request": {"method": "PUT", "url": f"Patient/{present['id']}"}}
        with self.environment.medplum() as client:
            [outcome] = client.batch([entry], 100)
        assert outcome.status == 200
        self.written.add(outcome.version)

    def rename(self, family: str) -> None:
        self.put(name=[{"family": family}])

    def versions(self) -> int:
        with self.environment.medplum() as client:
            return len(client.history("Patient", self.patient["id"]))


@pytest.fixture
def user(wave: SyncedWave, monkeypatch: pytest.MonkeyPatch) -> User:
    made, real = User(wave.environment), MedplumClient.history

    def history(client: MedplumClient, resource_type: str, medplum_id: str) -> list[Resource]:
        entries = real(client, resource_type, medplum_id)
        for meta in (entry["resource"]["meta"] for entry in entries):
            meta.update(OTHER if meta["versionId"] in made.written else {})
        return entries

    monkeypatch.setattr(MedplumClient, "history", history)
    return made


def rename(family: str) -> str:
    return f"UPDATE patient SET family = '{family}' WHERE id = 1"


def place(wave: SyncedWave) -> str:
    with wave.environment.manifest.begin() as connection:
        run_id = states_of(connection, wave.environment.migration.name, "patient", ["1"])["1"].run_id
        of_patient = (source_record.c.run_id == run_id, source_record.c.entity == "patient", source_record.c.key == "1")
        return str(connection.scalar(sa.select(source_record.c.place).where(*of_patient)))


def faults(environment: Environment) -> set[tuple[str, str]]:
    found = verify_subject(environment, Subject(keys={"patient": ("1",)}))
    return {(one.name, one.entity) for one in filter(is_fault, found.verdict.results)}


def test_additions_are_kept_through_every_later_update(wave: SyncedWave, write: Write, user: User) -> None:
    before = user.content
    user.put(**PHONE)
    write(rename("Adair"))
    assert ledger(wave, cycle(wave)) == UPDATED
    assert user.content == {**before, **PHONE, "family": "Adair"}
    write(rename("Ames"))
    assert ledger(wave, cycle(wave)) == UPDATED
    assert user.content == {**before, **PHONE, "family": "Ames"}
    write("UPDATE patient SET born = NULL WHERE id = 1")  # what the row no longer has goes; what was added stays
    assert ledger(wave, cycle(wave)) == UPDATED
    assert user.content == {"family": "Ames", "gender": before["gender"], **PHONE}
    write(rename(before["family"]), f"UPDATE patient SET born = '{before['birthDate']}' WHERE id = 1")
    assert ledger(wave, cycle(wave)) == UPDATED
    assert user.content == {**before, **PHONE}
    user.put(telecom=None)
    write(rename("Adair"))
    assert ledger(wave, cycle(wave)) == UPDATED
    assert user.content == {**before, "family": "Adair"}
    with wave.environment.manifest.begin() as connection:
        one = (target.c.system == user.system, target.c.value == "1")
        assert connection.scalar(sa.select(target.c.wanted_hash).where(*one)) is None  # as if nobody had added anything


def test_different_fields_changed_on_either_side_are_both_kept(wave: SyncedWave, write: Write, user: User) -> None:
    before = user.content
    user.put(birthDate="1971-01-01")
    write(rename("Adair"))
    assert ledger(wave, cycle(wave)) == UPDATED
    assert user.content == {**before, "family": "Adair", "birthDate": "1971-01-01"}
    write(rename("Ames"))  # what the mapping makes still has the old date, and nobody changed it there
    assert ledger(wave, cycle(wave)) == UPDATED
    assert user.content == {**before, "family": "Ames", "birthDate": "1971-01-01"}
    write("UPDATE patient SET born = '1972-02-02' WHERE id = 1")
    assert ends(cycle(wave)) == {"quarantined": 1}
    assert user.content == {**before, "family": "Ames", "birthDate": "1971-01-01"}


def test_a_field_changed_on_both_sides_is_not_written_over(wave: SyncedWave, write: Write, user: User) -> None:
    user.rename("Baker")
    write(rename("Adair"), "UPDATE patient SET family = 'Bell' WHERE id = 2")
    assert ends(cycle(wave)) == {"quarantined": 1, "successful": 1}
    assert reason(wave, "patient", "1") == "target-changed"
    assert place(wave) == f"Patient/{user.patient['id']} at name.family"
    assert (user.content["family"], user.versions()) == ("Baker", 2)
    write(rename("Baker"))
    assert ledger(wave, cycle(wave)) == UNCHANGED  # both say the same: the new base
    write(rename("Cole"))
    assert ledger(wave, cycle(wave)) == UPDATED
    assert user.content["family"] == "Cole"


def test_what_both_sides_changed_alike_is_the_new_base_beside_additions(
    wave: SyncedWave, write: Write, user: User
) -> None:
    user.put(name=[{"family": "Adair"}], **PHONE)
    write(rename("Adair"))
    assert ledger(wave, cycle(wave)) == UNCHANGED
    assert user.versions() == 2
    assert faults(wave.environment) == set()
    for family in ("Ames", "Abel"):
        write(rename(family))
        assert ledger(wave, cycle(wave)) == UPDATED
        assert (user.content["family"], user.content["telecom"]) == (family, PHONE["telecom"])


def test_a_row_that_is_put_back_leaves_what_the_user_did(wave: SyncedWave, write: Write, user: User) -> None:
    before = user.content
    user.rename("Baker")
    write(rename("Adair"))
    cycle(wave)
    write(rename(before["family"]))
    assert ledger(wave, cycle(wave)) == UNCHANGED
    assert (reason(wave, "patient", "1"), user.content["family"], user.versions()) == ("", "Baker", 2)


def test_a_deletion_is_left_to_a_person(wave: SyncedWave, write: Write, user: User) -> None:
    with wave.environment.medplum() as client:
        client.batch([{"request": {"method": "DELETE", "url": f"Patient/{user.patient['id']}"}}], 100)
    write(rename("Adair"))
    assert ends(cycle(wave)) == {"quarantined": 1}
    assert reason(wave, "patient", "1") == "target-deleted"


def test_without_a_certain_base_nothing_is_written(
    wave: SyncedWave, write: Write, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    user.put(**PHONE)
    write(rename("Adair"))
    cycle(wave)
    write(rename("Ames"))
    with monkeypatch.context() as patched:
        patched.setattr(MedplumClient, "profile", lambda _: "")
        patched.setattr("medferry.apply.three_way._made_within", lambda *_: None)
        assert ends(cycle(wave)) == {"quarantined": 1}
    assert (user.content["family"], user.versions()) == ("Adair", 3)


# -- lost answers and kills ------------------------------------------------------------------------


def test_a_merge_that_lost_its_answer_is_written_once(
    wave: SyncedWave, write: Write, user: User, medplum: EmbeddedMedplum
) -> None:
    user.put(**PHONE)
    write(rename("Adair"))
    medplum.inject({"kind": "cut-after", "every": 1, "times": 1, **WRITES})
    assert ledger(wave, cycle(wave)) == UPDATED
    assert (user.content["family"], user.content["telecom"], user.versions()) == ("Adair", PHONE["telecom"], 3)
    assert faults(wave.environment) == set()


@pytest.mark.parametrize(("then", "versions", "family"), [(None, 3, "Adair"), ("Later", 4, "Later"), ("Ada", 4, "Ada")])
def test_a_kill_between_the_write_and_its_record_loses_nothing(
    wave: SyncedWave,
    write: Write,
    user: User,
    monkeypatch: pytest.MonkeyPatch,
    then: str | None,
    versions: int,
    family: str,
) -> None:
    user.put(**PHONE)
    write(rename("Adair"))

    def dies(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(ChunkLoader, "_record", dies)
        patched.setattr(carry_out, "_end", lambda *_: None)  # nobody tidies up after a kill
        with pytest.raises(Killed):
            cycle(wave)
    assert user.versions() == 3
    if then:
        write(rename(then))
    cycle(wave)
    assert reason(wave, "patient", "1") == ""
    assert (user.content["family"], user.content["telecom"], user.versions()) == (family, PHONE["telecom"], versions)
    assert faults(wave.environment) == set()


# -- what others see of it -------------------------------------------------------------------------


def test_a_merge_is_proven_and_what_is_altered_after_it_is_found(wave: SyncedWave, write: Write, user: User) -> None:
    user.put(**PHONE)
    write(rename("Adair"))
    cycle(wave)
    assert faults(wave.environment) == set()
    user.put(telecom=[{"system": "phone", "value": "556"}])
    changed = {("content: as written", "patient"), ("versions: changed since the load", "patient")}
    assert faults(wave.environment) == changed


def load_again(wave: SyncedWave, run_id: str, **options: bool) -> None:
    """A load that stages every row, whatever the ledger says."""
    migration = wave.environment.migration
    with wave.environment.manifest.begin() as connection:
        forget_digests(connection, migration.name, list(migration.entities))
    migrate(wave.environment, run_id, **options)


def test_a_load_keeps_what_was_merged(wave: SyncedWave, write: Write, user: User) -> None:
    user.put(birthDate="1971-01-01", **PHONE)
    write(rename("Adair"))
    cycle(wave)
    merged = user.content
    with pytest.raises(VerificationFailed):  # the legacy database still has another birth date
        load_again(wave, "again")
    assert (reason(wave, "patient", "1"), user.content, user.versions()) == ("", merged, 3)
    write(rename("Ames"))
    with pytest.raises(VerificationFailed):
        load_again(wave, "changed")
    assert (reason(wave, "patient", "1"), user.content, user.versions()) == ("target-changed", merged, 3)
    write("DELETE FROM weight WHERE id = 0")
    cycle(wave)
    assert user.content["family"] == "Ames"


def test_overwriting_is_asked_for(wave: SyncedWave, write: Write, user: User) -> None:
    before = user.content
    user.put(**PHONE)
    write(rename("Adair"))
    cycle(wave)
    load_again(wave, "over", overwrite=True)
    assert user.content == {**before, "family": "Adair"}
