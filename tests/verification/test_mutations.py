"""Plant one corruption after the other: each must be found, and named by the key of its row."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import HttpUrl

from embedded_medplum.server import EmbeddedMedplum
from medferry.errors import VerificationFailed
from medferry.governance.safety import SafetyLook, clinical_safety
from medferry.governance.verdict import verdict_of
from medferry.manifest.checks import Difference, differences_of
from medferry.manifest.tables import source_record, target
from medferry.runtime.environment import Environment
from medferry.sync.wave import SyncedWave
from medferry.verification.run import verify_run
from medferry.verification.source_rows import AS_LOADED
from medferry.workflows.parity import ask_both, require_parity
from medferry.workflows.safety import Unsafe, look_at_safety, require_safety, wave_safety
from tests.verification.conftest import RUN
from tests.verification.mutations import BLIND, EDITS, ODD_BASES, Edit, Resource, has
from tests.verification.world import World, open_world
from tests.workflows.test_migrate import migrate

pytestmark = pytest.mark.slow

FOUND: dict[str, bool] = {}
"""Kind of corruption → whether it was found."""


@pytest.fixture(scope="module")
def world(clinics: Environment) -> Iterator[World]:
    world = open_world(clinics)
    for entity in clinics.migration.specs:
        assert world.differences(entity) == world.differences_now(entity) == []
    yield world
    world.http.close()


def hunt(
    world: World, name: str, entity: str, key: str, planted: AbstractContextManager[Any], checks: tuple[str, ...]
) -> list[Difference]:
    """What is found while the corruption is there; fails unless one of `checks` names the key.

    It is looked for without the run, too: under its key, and, unless it is one of many of its sort, in its entity.
    A run's ledger is left out: it is history, and what is true now need not hang on it.
    """
    FOUND[name] = False
    with planted:
        found = world.differences(entity)
        if not name.startswith("ledger:"):
            assert key in {one.key for one in world.differences_now(entity, key)}, f"{name}: not found by the key {key}"
            if name not in {edit.name for edit in EDITS}:
                assert key in {one.key for one in world.differences_now(entity)}, f"{name}: not found in {entity}"
    named = [one for one in found if one.key == key and one.name.startswith(checks)]
    assert named, f"{name}: not found for {entity} {key} by {checks}; found {sorted({d.name for d in found})}"
    FOUND[name] = True
    return found


def prepared(world: World, edit: Edit) -> tuple[str, Resource, Resource]:
    """Key, the resource as it is, and altered; "@entity" stands for another resource of that entity."""
    key, altered = world.find(edit.entity, edit.slot, edit.fits)
    original = next(resource for k, resource in world.stored[edit.entity, edit.slot] if k == key)
    edit.change(altered)
    return key, original, aimed(world, altered, original)


def aimed(world: World, value: Any, original: Any) -> Any:
    if isinstance(value, dict):
        held = original if isinstance(original, dict) else {}
        return {name: aimed(world, item, held.get(name)) for name, item in value.items()}
    if isinstance(value, list):
        held_list = original if isinstance(original, list) else []
        return [
            aimed(world, item, held_list[number] if number < len(held_list) else None)
            for number, item in enumerate(value)
        ]
    if isinstance(value, str) and value.startswith("@"):
        others = [resource for _, resource in world.stored[value[1:], "main"]]
        names = (f"{other['resourceType']}/{other['id']}" for other in others)
        return next(name for name in names if name != original)
    return value


@pytest.mark.parametrize("edit", {edit.entity: edit for edit in EDITS}.values(), ids=lambda edit: edit.entity)
def test_a_change_by_somebody_else_is_found(world: World, edit: Edit) -> None:
    key, original, altered = prepared(world, edit)
    planted = world.changed(original, altered, honest=False)
    found = hunt(world, f"{edit.name} (by somebody else)", edit.entity, key, planted, ("content: as written",))
    assert any(one.name.startswith("versions") and one.key == key for one in found)


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.name)
def test_a_fault_of_mapping_or_loader_is_found(world: World, edit: Edit) -> None:
    """The manifest agrees with what is stored: only the legacy database, or the meaning itself, can tell."""
    key, original, altered = prepared(world, edit)
    planted = world.changed(original, altered, honest=True)
    found = hunt(world, edit.name, edit.entity, key, planted, edit.checks)
    assert not any(one.name.startswith(("content", "versions")) for one in found)


def test_two_patients_swapped(world: World) -> None:
    (one_key, one), (other_key, other) = world.stored["patient", "main"][:2]
    own = ("id", "meta", "identifier")
    swapped = [
        {**{name: value for name, value in content.items() if name not in own}, **{name: of[name] for name in own}}
        for of, content in ((one, other), (other, one))
    ]
    with world.changed(one, swapped[0], honest=True):
        planted = world.changed(other, swapped[1], honest=True)
        found = hunt(world, "two patients swapped", "patient", one_key, planted, ("value:",))
    assert any(difference.key == other_key for difference in found)


# -- identity --------------------------------------------------------------------------------------


def test_a_deleted_resource(world: World) -> None:
    key, resource = world.find("allergy", "main", lambda _: True)
    hunt(world, "deleted", "allergy", key, world.deleted(resource), ("identifiers: missing",))


def test_a_deleted_resource_that_the_manifest_forgot(world: World) -> None:
    key, resource = world.find("vitals", "spo2", lambda _: True)
    mine = target.c.medplum_id == resource["id"]
    with world.deleted(resource):
        planted = world.manifest_row(target, mine, None)
        found = hunt(world, "deleted and forgotten", "vitals", key, planted, ("manifest: resources of",))
        assert [one.field for one in found if one.key == key] == ["spo2"]
    # The deletion is undone when the row is back: `deleted` adopts the restored version.


def test_an_extra_resource(world: World) -> None:
    _, resource = world.find("problem", "main", lambda _: True)
    system = resource["identifier"][0]["system"]
    extra = {**resource, "identifier": [{"system": system, "value": "4711000"}]}
    hunt(world, "extra", "problem", "4711000", world.added(extra), ("identifiers: unexpected",))


def test_a_resource_twice(world: World) -> None:
    key, resource = world.find("immunization", "main", lambda _: True)
    hunt(world, "twice", "immunization", key, world.added(resource), ("identifiers: more than once",))


def test_one_missing_and_one_extra(world: World) -> None:
    """The counts agree; the sets do not."""
    key, resource = world.find("coverage", "main", lambda _: True)
    extra = {**resource, "identifier": [{**resource["identifier"][0], "value": "4711001"}]}
    with world.added(extra):
        found = hunt(world, "one for another", "coverage", key, world.deleted(resource), ("identifiers: missing",))
    assert any(one.key == "4711001" and one.name.startswith("identifiers: unexpected") for one in found)


def test_an_extra_resource_that_the_manifest_knows(world: World) -> None:
    key, resource = world.find("allergy", "main", lambda _: True)
    extra = {**resource, "identifier": [{**resource["identifier"][0], "value": "4711002"}]}
    with world.added(extra) as stored:
        values = {"value": "4711002", "medplum_id": stored["id"], "version_id": stored["meta"]["versionId"]}
        planted = world.manifest_copy(target, target.c.medplum_id == resource["id"], values)
        hunt(world, "extra and known", "allergy", "4711002", planted, ("manifest: resources without a row",))
    assert key != "4711002"


# -- the manifest ----------------------------------------------------------------------------------


def unit_of(entity: str, key: str) -> sa.ColumnElement[bool]:
    return sa.and_(source_record.c.entity == entity, source_record.c.key == key)


@pytest.mark.parametrize(
    ("name", "values", "checks"),
    [
        ("ledger line lost", None, ("source keys",)),
        ("pending again", {"disposition": "pending"}, ("accounting",)),
        ("called skipped", {"disposition": "skipped"}, ("loaded before",)),
        ("called quarantined", {"disposition": "quarantined"}, ("manifest: resources of",)),
        ("called rejected", {"disposition": "rejected"}, ("manifest: resources of",)),
        ("another unit", {"unit": "shared"}, ("source keys",)),
        ("another key", {"key": "99999999"}, ("source keys",)),
    ],
)
def test_a_tampered_ledger_line(
    world: World, name: str, values: dict[str, Any] | None, checks: tuple[str, ...]
) -> None:
    key, _ = world.find("prescription", "main", lambda _: True)
    planted = world.manifest_row(source_record, unit_of("prescription", key), values)
    found = hunt(world, f"ledger: {name}", "prescription", key, planted, checks)
    if name == "another key":
        assert any(one.key == "99999999" for one in found)


@pytest.mark.parametrize("disposition", ["skipped", "quarantined"])
def test_a_line_called_successful(world: World, disposition: str) -> None:
    columns = (source_record.c.entity, source_record.c.key)
    with world.environment.manifest.begin() as connection:
        lines = connection.execute(sa.select(*columns).where(source_record.c.disposition == disposition))
        entity, key = lines.first() or ("", "")
    planted = world.manifest_row(source_record, unit_of(entity, key), {"disposition": "successful"})
    hunt(world, f"ledger: {disposition} called successful", entity, key, planted, ("manifest: resources of",))


@pytest.mark.parametrize(
    ("name", "values", "checks"),
    [
        ("row lost", None, ("manifest: resources of", "identifiers: unexpected")),
        ("another version", {"version_id": str(uuid.uuid4())}, ("versions",)),
        ("another hash", {"content_hash": "0" * 64}, ("content",)),
        ("an id of nothing", {"medplum_id": str(uuid.uuid4())}, ("identifiers: missing",)),
        ("another value", {"value": "88888888"}, ("manifest: resources of", "identifiers: unexpected")),
    ],
)
def test_a_tampered_crosswalk(world: World, name: str, values: dict[str, Any] | None, checks: tuple[str, ...]) -> None:
    key, resource = world.find("immunization", "main", lambda _: True)
    planted = world.manifest_row(target, target.c.medplum_id == resource["id"], values)
    hunt(world, f"crosswalk: {name}", "immunization", key, planted, checks)


def test_two_ids_of_the_crosswalk_swapped(world: World) -> None:
    (one_key, one), (_, other) = world.stored["patient", "main"][:2]
    with world.manifest_row(target, target.c.medplum_id == one["id"], {"medplum_id": other["id"]}):
        mine = sa.and_(target.c.medplum_id == other["id"], target.c.value != one_key)
        planted = world.manifest_row(target, mine, {"medplum_id": one["id"]})
        hunt(world, "crosswalk: two ids swapped", "patient", one_key, planted, ("identifiers: as in",))


# -- the legacy database ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "entity", "table", "key_column", "column", "value", "fits"),
    [
        ("value became NULL", "immunization", "immunizations", "immunization_id", "lot_no", None, "lotNumber"),
        ("value became empty", "immunization", "immunizations", "immunization_id", "lot_no", "", "lotNumber"),
        ("another lot", "immunization", "immunizations", "immunization_id", "lot_no", "Q-1", "lotNumber"),
        ("zero became NULL", "prescription", "prescriptions", "prescription_id", "refills", None, "dispenseRequest"),
        ("another status", "problem", "problems", "problem_id", "status_code", "E", "clinicalStatus"),
        ("another patient", "note", "notes", "note_id", "patient_id", 1, "subject"),
        ("a time later", "encounter", "encounters", "encounter_id", "started_at", "2024-02-02 08:00:00", "period"),
        ("deleted since", "allergy", "allergies", "allergy_id", "deleted_at", "2024-02-02 08:00:00", "code"),
    ],
)
def test_the_legacy_row_has_changed(
    world: World, name: str, entity: str, table: str, key_column: str, column: str, value: Any, fits: str
) -> None:
    key, _ = world.find(entity, "main", lambda resource: fits in resource)
    if column == "patient_id":
        value = int(world.another("patient", world.stored["patient", "main"][0][0])[0])
    planted = world.legacy_value(table, key_column, key, column, value)
    hunt(world, f"legacy: {name}", entity, key, planted, ("value:", "manifest: resources of"))


def test_minus_nothing_is_not_nothing(world: World) -> None:
    key, resource = world.find(
        "lab_result", "main", lambda r: "comparator" not in r.get("valueQuantity", {"comparator"})
    )
    zero = {**resource, "valueQuantity": {**resource["valueQuantity"], "value": 0}}
    row = ("lab_results", "result_id", key, "result_text")
    with world.changed(resource, zero, honest=True), world.legacy_value(*row, "0"):
        assert {one.name for one in world.differences("lab_result")} == {AS_LOADED}  # all else agrees
        planted = world.legacy_value(*row, "-0")
        hunt(world, "legacy: minus zero", "lab_result", key, planted, ("value: main/value",))


def test_a_legacy_row_is_lost_and_another_is_new(world: World) -> None:
    key, _ = world.find("coverage", "main", lambda _: True)
    there = "UPDATE insurance_policies SET policy_id = 77777777 WHERE policy_id = :key"
    back = "UPDATE insurance_policies SET policy_id = :key WHERE policy_id = 77777777"
    planted = world.legacy(there, back, key=int(key))
    found = hunt(world, "legacy: another key", "coverage", key, planted, ("source keys",))
    assert {one.key for one in found if one.name == "source keys"} == {key, "77777777"}


# -- a server that does not find what it has, and identifiers that it cannot be asked for -----------


def planted_among_odd_identifiers(tiny: Environment, base: str) -> list[Difference]:
    """What is found of the tiny platform under an identifier base, when there is a patient of no row."""
    plan = tiny.migration.plan.model_copy(update={"identifier_base": HttpUrl(base)})
    environment = Environment(replace(tiny.migration, plan=plan), tiny.settings)
    with suppress(VerificationFailed):
        migrate(environment, RUN)
    system = environment.migration.naming.system("patient")
    with environment.medplum() as client:
        extra = {"resourceType": "Patient", "identifier": [{"system": system, "value": "4711"}]}
        outcomes = client.batch([{"resource": extra, "request": {"method": "POST", "url": "Patient"}}], 100)
        assert [one.status for one in outcomes] == [201]
    verify_run(environment, RUN)
    with environment.manifest.begin() as connection:
        return differences_of(connection, RUN)


@pytest.mark.parametrize("character", ODD_BASES)
def test_an_identifier_base_with_a_separator(tiny: Environment, character: str) -> None:
    FOUND[f"extra, and a {character} in the base"] = False
    found = planted_among_odd_identifiers(tiny, ODD_BASES[character])
    assert [(one.name, one.key) for one in found] == [("identifiers: unexpected in Medplum", "4711")]
    assert verdict_text(tiny) == "not proven"
    FOUND[f"extra, and a {character} in the base"] = True


@pytest.mark.parametrize("blindness", BLIND)
def test_a_server_that_finds_nothing(tiny: Environment, medplum: EmbeddedMedplum, blindness: str) -> None:
    FOUND[blindness] = False
    migrate(tiny, RUN)
    medplum.inject({"kind": "no-match", "every": 1, "path": BLIND[blindness]})
    results = verify_run(tiny, RUN)
    proven = {(one.name, one.entity) for one in results if one.status == "equal"}
    for entity in tiny.migration.specs:
        assert ("identifiers: unexpected in Medplum", entity) not in proven
        assert ("identifiers: more than once", entity) not in proven
    assert verdict_text(tiny) == "not proven"
    FOUND[blindness] = True


def verdict_text(environment: Environment) -> str:
    with environment.manifest.begin() as connection:
        return verdict_of(connection, RUN).text()


# -- what hurts first: allergies, medications, problems ----------------------------------------------

CLINICAL = ("allergy", "prescription", "problem")


def harm_in(environment: Environment) -> SafetyLook:
    """Of all waves' units: the small demo has not every sort of record in each."""
    return look_at_safety(environment, environment.migration.plan.unit_ids, ())


def told(environment: Environment) -> list[tuple[str, str, str]]:
    return [(one.harm, one.entity, one.key) for one in harm_in(environment).findings]


def legacy(environment: Environment, statement: str) -> None:
    with environment.source.begin() as connection:
        assert connection.execute(sa.text(statement)).rowcount == 1


def test_each_planted_harm_is_found_with_its_chart_and_without_values(world: World) -> None:
    environment = world.environment
    sound = harm_in(environment)
    assert clinical_safety(sound, None).ok and sound.compared > 20 and sound.by_value > 100
    assert f"{sound.compared:,} records compared" in clinical_safety(sound, None).evidence
    key, allergy = world.find("allergy", "main", has("id"))
    with world.deleted(allergy):
        gate = clinical_safety(harm_in(environment), None)
        [lost] = harm_in(environment).findings
        assert (lost.harm, lost.entity, lost.key) == ("lost", "allergy", key)
        assert lost.chart == allergy["patient"]["reference"] and lost.patient
        assert not gate.ok and gate.evidence.startswith("1 lost; ")
    key, order = world.find("prescription", "main", lambda one: one.get("dispenseRequest", {}).get("quantity"))
    altered = copy.deepcopy(order)
    altered["dispenseRequest"]["quantity"]["value"] += 1
    for honest in (False, True):
        with world.changed(order, altered, honest):
            [dose] = harm_in(environment).findings
            assert (dose.harm, dose.entity, dose.key) == ("altered", "prescription", key)
            assert dose.chart == order["subject"]["reference"] and "value: main/quantity" in dose.checks
    assert told(environment) == []


def test_a_problem_that_is_back_is_found_however_it_went(world: World) -> None:
    environment = world.environment
    key, problem = world.find("problem", "main", has("id"))
    legacy(environment, f"UPDATE problems SET deleted_at = recorded_at WHERE problem_id = {key}")
    [back] = harm_in(environment).findings
    assert (back.harm, back.entity, back.key, back.place) == (
        "resurrected", "problem", key, f"Condition/{problem['id']}",
    )  # fmt: skip
    legacy(environment, f"UPDATE problems SET deleted_at = NULL WHERE problem_id = {key}")
    assert told(environment) == []
    with world.added({**copy.deepcopy(problem), "clinicalStatus": problem.get("clinicalStatus", {})}):
        assert ("resurrected", "problem", key) in told(environment)


def test_nothing_to_compare_is_never_green(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = world.environment
    empty = SafetyLook(CLINICAL, 0, 0, 0, (), (), ())
    assert "0 records compared" in clinical_safety(empty, None).evidence and not clinical_safety(empty, None).ok
    assert not clinical_safety(SafetyLook((), 0, 0, 0, (), (), ()), None).ok
    assert not clinical_safety(SafetyLook(CLINICAL, 9, 0, 0, (), (), ()), None).ok
    assert not clinical_safety(SafetyLook(CLINICAL, 9, 9, 0, ("allergy/1",), (), ()), None).ok
    assert wave_safety(environment, "pilot").compared < harm_in(environment).compared
    monkeypatch.setattr("medferry.workflows.safety.look_at_safety", lambda *_: empty)
    with pytest.raises(Unsafe, match="could not be said"):
        require_safety(environment, "pilot")


def test_both_systems_are_asked_the_same_and_a_record_that_one_alone_names_is_found(world: World) -> None:
    environment = world.environment
    parity = ask_both(environment, "pilot", 30)
    assert parity.differing == [] and parity.keys > 50
    assert len(parity.legacy) == len(parity.medplum) > 5 * parity.patients
    assert " questions about " in require_parity(environment, "pilot")
    wave = SyncedWave(environment, "pilot")
    here, patients = wave.known_keys("problem"), wave.known_keys("patient")
    charts = {f"Patient/{one['id']}" for key, one in world.stored["patient", "main"] if key in patients}

    def of_the_wave(one: Resource) -> bool:
        return one["subject"]["reference"] in charts and one["identifier"][0]["value"] in here

    def active(one: Resource) -> list[Resource]:
        return [coding for coding in one.get("clinicalStatus", {}).get("coding", []) if coding["code"] == "active"]

    key, problem = world.find("problem", "main", lambda one: of_the_wave(one) and active(one))
    resolved = copy.deepcopy(problem)
    resolved["clinicalStatus"] = {"coding": [{**active(problem)[0], "code": "resolved", "display": "Resolved"}]}
    with world.changed(problem, resolved, honest=True):
        assert f"active Condition of a patient: problem {key}" in ask_both(environment, "pilot", 100).differing
    with world.deleted(problem):
        assert f"Condition of a patient: problem {key}" in ask_both(environment, "pilot", 100).differing


# -- afterwards ------------------------------------------------------------------------------------


def test_everything_is_undone_and_the_score_is_full(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    for entity in world.environment.migration.specs:
        assert world.differences(entity) == [], entity
    found = sum(FOUND.values())
    with capsys.disabled():
        print(  # noqa: T201 - the score is what this suite is for
            f"\nMutation score: {found} of {len(FOUND)} kinds of corruption found ({found / len(FOUND):.0%})"
        )
    assert found == len(FOUND)
    assert len(FOUND) >= 40
