"""The circle of a conflict: found, kept, decided, applied by the next cycle; decided for its versions alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import orjson
import pytest
import sqlalchemy as sa
import yaml

from medferry.definition.migration import load_migration
from medferry.errors import StagingError
from medferry.fhir.sides import Side
from medferry.manifest.conflict_decisions import decide, decided_paths
from medferry.manifest.conflicts import WHOLE, Conflict, ConflictState, list_conflicts
from medferry.manifest.decisions import BY_PLAN
from medferry.manifest.tables_of_conflicts import conflict as table_of_conflicts
from medferry.runtime.environment import Environment
from medferry.store.values import FOLDER, Pointer, ValueStore
from medferry.sync import carry_out
from medferry.sync.cycle import cycle
from medferry.sync.wave import SyncedWave
from tests.sync.conftest import Write
from tests.sync.test_cycle import Killed, ends, ledger, reason
from tests.sync.test_merge import PHONE, UNCHANGED, UPDATED, User, faults, rename
from tests.sync.test_merge import user as user

BORN = "UPDATE patient SET born = '1972-02-02' WHERE id = 1"
SEX = "UPDATE patient SET sex = CASE sex WHEN 'F' THEN 'M' ELSE 'F' END WHERE id = 1"
BOTH = {"accepted_by": "A. Person", "reason": "Both are in use for a month.", "writer": "both"}


def conflicts(wave: SyncedWave, *states: ConflictState) -> list[Conflict]:
    with wave.environment.manifest.begin() as connection:
        return list_conflicts(connection, wave.environment.migration.name, states or tuple(ConflictState))


def only(wave: SyncedWave, state: ConflictState) -> Conflict:
    [found] = conflicts(wave, state)
    return found


def decided(wave: SyncedWave, side: Side, *paths: str) -> ConflictState:
    [conflict] = conflicts(wave, ConflictState.OPEN, ConflictState.DECIDED)
    with wave.environment.manifest.begin() as connection:
        return decide(connection, conflict, paths, side, "A. Person", "It was asked for.")


def kept(environment: Environment, pointer: Any) -> Any:
    return orjson.loads(environment.values.get(Pointer(*pointer)))


@pytest.fixture
def in_conflict(wave: SyncedWave, write: Write, user: User) -> User:
    """Both have changed the family name and the birth date; a phone was added in Medplum, the gender in the row."""
    user.put(name=[{"family": "Baker"}], birthDate="1971-01-01", **PHONE)
    write(rename("Adair"), BORN)
    assert ends(cycle(wave)) == {"quarantined": 1}
    return user


def test_a_conflict_is_kept_with_both_sides_once(wave: SyncedWave, write: Write, in_conflict: User) -> None:
    conflict = only(wave, ConflictState.OPEN)
    assert (conflict.wave, conflict.unit, conflict.entity, conflict.key) == ("pilot", "north", "patient", "1")
    assert (conflict.paths, conflict.resource_type) == (("birthDate", "name.family"), "Patient")
    assert (conflict.medplum_id, conflict.owner) == (in_conflict.patient["id"], "data steward")
    base, legacy, medplum = (kept(wave.environment, one) for one in (conflict.base, conflict.legacy, conflict.medplum))
    assert (base["birthDate"] != legacy["birthDate"]) and "telecom" not in legacy
    assert (legacy["name"][0]["family"], medplum["name"][0]["family"]) == ("Adair", "Baker")
    files = list(Path(wave.environment.settings.staging_url.removeprefix("file://")).glob(f"{FOLDER}/*/*"))
    write("UPDATE patient SET family = 'Adair' WHERE id = 1")  # the same again
    assert ends(cycle(wave)) == {"quarantined": 1}
    assert conflicts(wave) == [conflict]
    assert list(Path(wave.environment.settings.staging_url.removeprefix("file://")).glob(f"{FOLDER}/*/*")) == files


@pytest.mark.parametrize("side", Side)
def test_the_next_cycle_does_what_was_decided(wave: SyncedWave, write: Write, in_conflict: User, side: Side) -> None:
    assert decided(wave, side) is ConflictState.DECIDED
    assert ledger(wave, cycle(wave)) == (UPDATED if side is Side.LEGACY else UNCHANGED)
    chosen = {
        Side.LEGACY: {"family": "Adair", "birthDate": "1972-02-02"},
        Side.MEDPLUM: {"family": "Baker", "birthDate": "1971-01-01"},
    }[side]
    assert in_conflict.content.items() >= {**chosen, **PHONE}.items()
    done = only(wave, ConflictState.APPLIED)
    assert done.applied_version == in_conflict.patient["meta"]["versionId"]
    assert (reason(wave, "patient", "1"), faults(wave.environment) - VALUES) == ("", set())
    assert cycle(wave).records == 0
    for _ in range(2):  # what the mapping made is known, though no version of Medplum's has it
        gender = in_conflict.content["gender"]
        write(SEX)
        assert ledger(wave, cycle(wave)) == UPDATED
        assert in_conflict.content.items() >= {**chosen, **PHONE}.items()
        assert in_conflict.content["gender"] != gender
    assert conflicts(wave) == [done]


VALUES = {("value: main/born", "patient"), ("value: main/family", "patient")}
"""What Medplum has by a decision is not what the row has, before the way back brings it there."""


def test_each_path_goes_with_its_own_decision_and_the_newest_counts(wave: SyncedWave, in_conflict: User) -> None:
    assert decided(wave, Side.LEGACY, "name.family") is ConflictState.OPEN
    assert cycle(wave).records == 0
    assert decided(wave, Side.LEGACY, "birthDate") is ConflictState.DECIDED
    assert decided(wave, Side.MEDPLUM, "birthDate") is ConflictState.DECIDED  # thought better of
    assert ledger(wave, cycle(wave)) == UPDATED
    assert in_conflict.content.items() >= {"family": "Adair", "birthDate": "1971-01-01", **PHONE}.items()


@pytest.mark.parametrize("mover", ["row", "resource"])
def test_a_decision_holds_for_the_versions_it_was_made_on(
    wave: SyncedWave, write: Write, in_conflict: User, mover: str
) -> None:
    decided(wave, Side.LEGACY)
    if mover == "row":
        write(rename("Ames"))
    else:
        in_conflict.rename("Bell")
    before = in_conflict.content
    assert ends(cycle(wave)) == {"quarantined": 1}
    assert in_conflict.content == before
    assert [one.state for one in conflicts(wave)] == [ConflictState.SUPERSEDED, ConflictState.OPEN]
    assert cycle(wave).records == 0
    decided(wave, Side.LEGACY)
    assert ledger(wave, cycle(wave)) == UPDATED
    assert in_conflict.content["family"] == ("Ames" if mover == "row" else "Adair")


def test_a_conflict_that_is_over_by_itself_is_superseded(wave: SyncedWave, write: Write, in_conflict: User) -> None:
    write(rename("Baker"), "UPDATE patient SET born = '1971-01-01' WHERE id = 1")
    assert ledger(wave, cycle(wave)) == UNCHANGED
    assert [one.state for one in conflicts(wave)] == [ConflictState.SUPERSEDED]


@pytest.mark.parametrize("side", Side)
def test_without_a_base_the_resource_is_decided_as_a_whole(
    wave: SyncedWave, write: Write, user: User, monkeypatch: pytest.MonkeyPatch, side: Side
) -> None:
    user.put(**PHONE)
    write(rename("Adair"))
    cycle(wave)
    user.rename("Baker")
    write(rename("Ames"))
    with monkeypatch.context() as patched:
        patched.setattr("medferry.apply.three_way.made_before", lambda *_: None)
        patched.setattr("medferry.apply.three_way._made_within", lambda *_: None)
        assert ends(cycle(wave)) == {"quarantined": 1}
        assert only(wave, ConflictState.OPEN).paths == (WHOLE,)
        decided(wave, side)
        cycle(wave)
    family = "Ames" if side is Side.LEGACY else "Baker"
    assert (user.content["family"], reason(wave, "patient", "1")) == (family, "")
    write(BORN)
    cycle(wave)
    assert user.content.items() >= {"family": family, "birthDate": "1972-02-02", **PHONE}.items()


@pytest.mark.parametrize("side", Side)
def test_a_deletion_against_a_change_is_decided(wave: SyncedWave, write: Write, user: User, side: Side) -> None:
    with wave.environment.medplum() as client:
        client.batch([{"request": {"method": "DELETE", "url": f"Patient/{user.patient['id']}"}}], 100)
    write(rename("Adair"))
    cycle(wave)
    conflict = only(wave, ConflictState.OPEN)
    assert (conflict.paths, conflict.versions.version_id, conflict.medplum) == ((WHOLE,), "", None)
    decided(wave, side)
    cycle(wave)
    assert only(wave, ConflictState.APPLIED).id == conflict.id
    assert reason(wave, "patient", "1") == ("" if side is Side.LEGACY else "target-deleted")
    if side is Side.LEGACY:
        assert user.content["family"] == "Adair"
        cycle(wave)  # what refers to it
    assert cycle(wave).records == 0


@pytest.mark.parametrize("side", [Side.LEGACY, Side.MEDPLUM, None])
def test_a_kill_between_the_write_and_its_record_asks_nobody_again(
    wave: SyncedWave, write: Write, in_conflict: User, monkeypatch: pytest.MonkeyPatch, side: Side | None
) -> None:
    decided(wave, Side.LEGACY, "name.family")
    decided(wave, side or Side.MEDPLUM, "birthDate")

    def dies(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("medferry.apply.chunk.ChunkLoader._record", dies)
        patched.setattr(carry_out, "_end", lambda *_: None)
        with pytest.raises(Killed):
            cycle(wave)
    versions = in_conflict.versions()
    cycle(wave)
    assert only(wave, ConflictState.APPLIED).key == "1"
    assert (in_conflict.content["family"], in_conflict.versions()) == ("Adair", versions)


KG = "UPDATE weight SET kg = kg + 1 WHERE id = 1"


def weight_of(wave: SyncedWave, **elements: Any) -> Any:
    """The observation of the weight 1, with some elements as a user of Medplum has put them."""
    system = wave.environment.migration.naming.system("weight")
    with wave.environment.medplum() as client:
        [found] = client.search_all("Observation", [("identifier", f"{system}|1")])
        if elements:
            found = {name: value for name, value in {**found, **elements}.items() if name != "meta"}
            request = {"method": "PUT", "url": f"Observation/{found['id']}"}
            [outcome] = client.batch([{"resource": found, "request": request}], 100)
            assert outcome.status == 200
    return found


@pytest.mark.parametrize("side", Side)
def test_a_quantity_is_decided_as_a_whole(wave: SyncedWave, write: Write, side: Side) -> None:
    before = weight_of(wave)["valueQuantity"]
    pounds = {**before, "unit": "lb", "code": "[lb_av]"}
    weight_of(wave, valueQuantity=pounds)
    write(KG)
    assert ends(cycle(wave)) == {"quarantined": 1}
    assert (only(wave, ConflictState.OPEN).paths, weight_of(wave)["valueQuantity"]) == (("valueQuantity",), pounds)
    decided(wave, side, "valueQuantity")
    cycle(wave)
    kilograms = {**before, "value": before["value"] + 1}
    assert weight_of(wave)["valueQuantity"] == (kilograms if side is Side.LEGACY else pounds)


def test_what_was_decided_about_a_part_of_a_quantity_says_nothing_of_all_of_it(wave: SyncedWave, write: Write) -> None:
    """A conflict from when its parts were merged one by one."""
    pounds = {**weight_of(wave)["valueQuantity"], "unit": "lb", "code": "[lb_av]"}
    weight_of(wave, valueQuantity=pounds)
    write(KG)
    cycle(wave)
    with wave.environment.manifest.begin() as connection:
        connection.execute(sa.update(table_of_conflicts).values(paths=["valueQuantity.value"]))
    assert decided(wave, Side.MEDPLUM, "valueQuantity.value") is ConflictState.DECIDED
    cycle(wave)
    assert only(wave, ConflictState.SUPERSEDED).paths == ("valueQuantity.value",)
    assert (only(wave, ConflictState.OPEN).paths, weight_of(wave)["valueQuantity"]) == (("valueQuantity",), pounds)
    decided(wave, Side.MEDPLUM)
    cycle(wave)
    assert only(wave, ConflictState.APPLIED).paths == ("valueQuantity",)
    assert weight_of(wave)["valueQuantity"] == pounds


def with_authority(wave: SyncedWave, tmp_path: Path, **rule: Any) -> SyncedWave:
    folder = tmp_path / "ruled" / "tiny"
    shutil.copytree(wave.environment.migration.folder, folder)
    plan = yaml.safe_load((folder / "plan.yaml").read_text())
    plan["authority"] = {"domains": {"people": ["patient"]}, "rules": [{"domain": "people", **rule}]}
    (folder / "plan.yaml").write_text(yaml.safe_dump(plan))
    return SyncedWave(Environment(load_migration(folder), wave.environment.settings), wave.id)


RULES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "both, by field": (
        {**BOTH, "fields": [{"paths": ["name"], "policy": "legacy_wins"}], "other_fields": "medplum_wins"},
        {"family": "Adair", "birthDate": "1971-01-01"},
    ),
    "legacy": (
        {"writer": "legacy", "against": "set_back"},
        {"family": "Adair", "birthDate": "1972-02-02"},
    ),
    "Medplum": (
        {"writer": "medplum", "against": "set_back"},
        {"family": "Baker", "birthDate": "1971-01-01"},
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_where_the_plan_gives_authority_nobody_is_asked_and_the_loser_is_kept(
    wave: SyncedWave, write: Write, user: User, tmp_path: Path, name: str
) -> None:
    rule, result = RULES[name]
    wave = with_authority(wave, tmp_path, **rule)
    gender = user.content["gender"]
    user.put(name=[{"family": "Baker"}], birthDate="1971-01-01", **PHONE)
    write(rename("Adair"), BORN, SEX)
    cycle(wave)
    assert (user.content["gender"] == gender) is (name == "Medplum")  # which the row alone has changed
    assert (user.content.items() >= {**result, **PHONE}.items(), reason(wave, "patient", "1")) == (True, "")
    done = conflicts(wave, ConflictState.APPLIED)[-1]
    with wave.environment.manifest.begin() as connection:
        made = decided_paths(connection, [done])[done.id]
    assert {one.decision.person for one in made.values()} == {BY_PLAN}
    assert {"name.family", "birthDate"} <= {*done.paths}
    assert kept(wave.environment, done.legacy)["name"][0]["family"] == "Adair"
    assert kept(wave.environment, done.medplum)["name"][0]["family"] == "Baker"
    assert conflicts(wave, ConflictState.OPEN) == []


def test_of_a_row_that_is_deleted_nobody_is_asked(wave: SyncedWave, write: Write, in_conflict: User) -> None:
    write("DELETE FROM weight WHERE patient_id = 1", "DELETE FROM patient WHERE id = 1")
    cycle(wave)
    assert [one.state for one in conflicts(wave)] == [ConflictState.SUPERSEDED]
    assert in_conflict.content["family"] == "Baker"


def test_without_room_for_the_values_nothing_is_decided_or_written(
    wave: SyncedWave, write: Write, user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wave = with_authority(wave, tmp_path, writer="legacy", against="set_back")
    user.rename("Baker")
    write(rename("Adair"))

    def full(*_: object) -> None:
        raise OSError(28, "no space")

    with monkeypatch.context() as patched:
        patched.setattr(ValueStore, "put", full)
        with pytest.raises(StagingError, match="could not be kept"):
            cycle(wave)
    assert (user.content["family"], conflicts(wave)) == ("Baker", [])
    cycle(wave)
    assert user.content["family"] == "Adair"
    assert kept(wave.environment, only(wave, ConflictState.APPLIED).medplum)["name"][0]["family"] == "Baker"
