"""What was loaded and is made no more is named, as long as Medplum has it; what nobody knows of is named too."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from medferry.definition.migration import load_migration
from medferry.errors import VerificationFailed
from medferry.governance.register import is_fault
from medferry.governance.verdict import verdict_of
from medferry.manifest.checks import checks_of, differences_of
from medferry.manifest.leftovers import LeftoverKind
from medferry.manifest.subject import Subject
from medferry.plan.model import LeftoverPolicy
from medferry.runtime.continuing import Renamed
from medferry.runtime.environment import Environment
from medferry.runtime.options import RunOptions
from medferry.runtime.systems import accept_systems
from medferry.stages.prepare import scope_of
from medferry.verification.accounting import KEYS, MOVED
from medferry.verification.leftovers import LEFT, TAGGED
from medferry.verification.run import verify_run, verify_subject
from medferry.verification.scope import UnknownSubject
from medferry.workflows.migrate import execute_run
from tests.tiny_platform import MIGRATION
from tests.workflows.test_migrate import migrate

STAFF = """
from medferry.mapping import mapping
@mapping(entity="staff", version="2", owner="test", produces={produces}, references=("clinic",))
def staff(row, ctx):
    {role}yield ctx.resource("role", practitioner=ctx.reference("staff", ctx.key))
    yield ctx.resource({main}={value})
"""


@pytest.fixture
def loaded(tiny: Environment, tmp_path: Path) -> Environment:
    """A copy of the tiny platform, loaded once."""
    environment = Environment(load_migration(shutil.copytree(MIGRATION, tmp_path / "tiny")), tiny.settings)
    assert run(environment, "first") == set()
    return environment


def run(environment: Environment, run_id: str, overwrite: bool = False) -> set[tuple[str, str, str]]:
    """Run everything; (check, key, kind) of the leftovers that its verification found."""
    scope = scope_of(environment.migration, None, None)
    with suppress(VerificationFailed):
        execute_run(environment, run_id, "run", scope, RunOptions(overwrite=overwrite), lambda *_: None)
    with environment.manifest.begin() as connection:
        found = {(one.name, one.key, one.kind) for one in differences_of(connection, run_id)}
        assert not found or verdict_of(connection, run_id).text() == "not proven"
        return {one for one in found if one[0] in (LEFT, TAGGED)}


def changed(environment: Environment, **files: str | None) -> Environment:
    """The migration with other files (None: without), by their path with __ for the slash and _dot_ for the dot."""
    for name, text in files.items():
        path = environment.migration.folder / name.replace("__", "/").replace("_dot_", ".")
        path.write_text(text) if text is not None else path.unlink()
    return Environment(load_migration(environment.migration.folder), environment.settings)


def plan(environment: Environment, **values: object) -> str:
    known = yaml.safe_load((environment.migration.folder / "plan.yaml").read_text())
    return yaml.safe_dump(known | values)


def faults(environment: Environment, subject: Subject) -> set[str]:
    """The checks that stand against what has been loaded of a subject, as it is now."""
    return {one.name for one in verify_subject(environment, subject).verdict.results if is_fault(one)}


def legacy(environment: Environment, statement: str) -> None:
    with environment.source.begin() as connection:
        connection.exec_driver_sql(statement)


def test_a_slot_that_is_no_more(loaded: Environment) -> None:
    mapping = STAFF.format(produces='{"main": "Practitioner"}', role="# ", main="active", value=True)
    later = changed(loaded, mappings__staff_dot_py=mapping, checks__staff_dot_yaml=None)
    gone = {(LEFT, f"staff/{key}", LeftoverKind.NO_SLOT.value) for key in (1, 2)}
    assert run(later, "second", overwrite=True) == gone


def test_a_slot_that_a_row_does_not_fill_any_more(loaded: Environment) -> None:
    produces = '{"main": "Practitioner", "role": "PractitionerRole"}'
    mapping = STAFF.format(produces=produces, role="if ctx.key == '1': ", main="active", value=True)
    later = changed(loaded, mappings__staff_dot_py=mapping)
    assert run(later, "second", overwrite=True) == {(LEFT, "staff/2", LeftoverKind.NOT_MADE.value)}


def test_another_type_under_the_same_identifiers(loaded: Environment) -> None:
    produces = '{"main": "Person", "role": "PractitionerRole"}'
    role = 'yield ctx.resource("role", active=True)\n    # '
    later = changed(
        loaded, mappings__staff_dot_py=STAFF.format(produces=produces, role=role, main="active", value=True)
    )
    replaced = {(LEFT, f"staff/{key}", LeftoverKind.REPLACED.value) for key in (1, 2)}
    assert run(later, "second", overwrite=True) == replaced


def test_an_entity_that_is_no_more_until_medplum_has_it_no_more(loaded: Environment) -> None:
    later = changed(
        loaded,
        mappings__weight_dot_py=None,
        entities__weight_dot_sql=None,
        checks__weight_dot_yaml=None,
        plan_dot_yaml=plan(loaded, acceptance={"max_quarantined_share": 1, "max_rejected_share": 1, "small_group": 5}),
    )
    with pytest.raises(UnknownSubject, match="has no weight"):
        verify_run(later, "first")
    assert {(name, kind) for name, _, kind in run(later, "second")} == {(LEFT, LeftoverKind.NO_SLOT.value)}
    with later.medplum() as client:
        entries = [
            {"request": {"method": "DELETE", "url": f"Observation/{one['id']}"}}
            for one in client.search_all("Observation", [("_fields", "id")])
        ]
        client.batch(entries, 3_000)
    assert run(later, "third") == set()
    assert verify_subject(later).verdict.text() == "proven"


def test_another_base_is_refused_until_it_is_accepted(loaded: Environment) -> None:
    later = changed(loaded, plan_dot_yaml=plan(loaded, identifier_base="https://other.example/legacy"))
    with pytest.raises(
        Renamed, match=r"30 Observation .*tiny.example/legacy/weight, .* https://other.example/legacy/weight is new"
    ):
        run(later, "refused")
    accept_systems(later)
    assert {kind for _, _, kind in run(later, "second")} == {LeftoverKind.NO_SLOT.value}


def test_a_row_that_cannot_be_loaded_any_more_has_its_old_content_in_medplum(loaded: Environment) -> None:
    legacy(loaded, "UPDATE patient SET born = '1970-02-30' WHERE id = 1")
    found = run(loaded, "second")
    assert found == {(LEFT, "patient/1", LeftoverKind.QUARANTINED.value)}
    other = verify_subject(loaded, Subject(units=("south",)))
    assert next(one for one in other.verdict.results if one.name == LEFT).different == 0


def test_the_plan_may_keep_them_and_they_are_counted(loaded: Environment) -> None:
    legacy(loaded, "UPDATE patient SET born = '1970-02-30' WHERE id = 1")
    legacy(loaded, "UPDATE patient SET deleted_at = '2024-06-01' WHERE id = 8")
    later = changed(loaded, plan_dot_yaml=plan(loaded, leftovers="keep"))
    assert run(later, "second") == set()
    with later.manifest.begin() as connection:
        notes = {(one.name, one.note) for one in checks_of(connection, "second") if "kept" in one.note}
    assert {name for name, _ in notes} == {LEFT, "loaded before, now gone from the source"}
    assert {note for _, note in notes} == {"1 kept, as the plan says. "}


def test_what_carries_the_tag_and_nobody_knows(loaded: Environment) -> None:
    tag = loaded.migration.naming.tag
    with loaded.medplum() as client:
        stray = {"resourceType": "Patient", "meta": {"tag": [tag]}, "gender": "male"}
        client.batch([{"resource": stray, "request": {"method": "POST", "url": "Patient"}}], 100)
    assert run(loaded, "second") == {(TAGGED, "Patient", "unknown")}


def test_resources_that_are_gone_hide_no_copies_that_nobody_knows(loaded: Environment) -> None:
    tag = loaded.migration.naming.tag
    with loaded.medplum() as client:
        role, *_ = client.search_all("PractitionerRole", [])
        for one in client.search_all("Observation", [("_fields", "id")]):
            client.batch([{"request": {"method": "DELETE", "url": f"Observation/{one['id']}"}}], 100)
        copies = [
            {"resourceType": "Observation", "meta": {"tag": [tag]}, "status": "final", "code": {"text": "copy"}},
            {key: value for key, value in role.items() if key not in ("id", "identifier", "meta")}
            | {"meta": {"tag": [tag]}},
        ]
        for one in copies:
            client.batch([{"resource": one, "request": {"method": "POST", "url": one["resourceType"]}}], 100)
    found = verify_subject(loaded).verdict.results
    [tagged] = [one for one in found if one.name == TAGGED]
    assert tagged.different == 2
    assert [example.split()[0] for example in sorted(tagged.examples)] == ["Observation", "PractitionerRole"]


def test_a_row_that_moved_to_a_unit_that_nobody_loads_keeps_what_was_loaded(tiny: Environment) -> None:
    """Also what it was changed to since: its run may not be proven while Medplum has the old."""
    pilot = tiny.migration.plan.units_of_wave("pilot")
    migrate(tiny, "first", pilot)
    legacy(tiny, "UPDATE weight SET unit = 'south', kg = 1 WHERE id = 0")
    with pytest.raises(VerificationFailed, match=f"{MOVED} of weight"):
        migrate(tiny, "second", pilot)
    with tiny.manifest.begin() as connection:
        [found] = [one for one in checks_of(connection, "second") if is_fault(one)]
    assert (found.name, found.different) == (MOVED, 1)
    assert found.examples[0].startswith("0 Observation/") and found.examples[0].endswith(" south nobody loads it")
    for subject in (Subject(), Subject(units=("north",))):
        assert {MOVED} <= faults(tiny, subject) <= {MOVED, "value: main/kg"}, "of a sample, which may have it"

    keeping = tiny.migration.plan.model_copy(update={"leftovers": LeftoverPolicy.KEEP})
    kept = Environment(replace(tiny.migration, plan=keeping), tiny.settings)
    migrate(kept, "third", pilot)
    with kept.manifest.begin() as connection:
        [note] = [one.note for one in checks_of(connection, "third") if one.name == MOVED]
    assert note == "1 kept, as the plan says. "
    assert faults(kept, Subject()) <= {"value: main/kg"}

    migrate(tiny, "rest", tiny.migration.plan.units_of_wave("rest"))
    migrate(tiny, "fourth", pilot)
    assert verify_subject(tiny).verdict.text() == "proven"


def test_a_row_that_moved_to_a_unit_that_others_load_is_theirs(tiny: Environment) -> None:
    for wave in ("pilot", "rest"):
        migrate(tiny, wave, tiny.migration.plan.units_of_wave(wave))
    legacy(tiny, "UPDATE weight SET unit = 'south', kg = 1 WHERE id = 0")
    migrate(tiny, "again", tiny.migration.plan.units_of_wave("pilot"))
    assert {KEYS} <= faults(tiny, Subject()) and MOVED not in faults(tiny, Subject())
    migrate(tiny, "rest again", tiny.migration.plan.units_of_wave("rest"))
    assert verify_subject(tiny).verdict.text() == "proven"
