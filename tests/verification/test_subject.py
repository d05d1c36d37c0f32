"""A subject is verified as it is now, whichever runs have loaded it."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml

from demo_clinics import database
from medferry.definition.migration import load_migration
from medferry.errors import VerificationFailed
from medferry.governance.register import is_fault
from medferry.governance.verdict import verdict_of, verdict_of_verification
from medferry.manifest.charts import ReviewOutcome, record_charts, record_review
from medferry.manifest.checks import checks_of, get_verification
from medferry.manifest.exceptions import exceptions_found_by, exceptions_of
from medferry.manifest.subject import Subject
from medferry.manifest.tables import check, difference, period_account, unit_state, verification
from medferry.report.reconciliation import reconcile
from medferry.runtime.environment import Environment
from medferry.runtime.options import RunOptions
from medferry.stages.prepare import scope_of
from medferry.stages.replay import Choice
from medferry.verification.options import Sampling
from medferry.verification.run import SubjectVerification, verify_run, verify_subject
from medferry.verification.scope import UnknownSubject
from medferry.verification.stored import StoredResourceCheck
from medferry.workflows.decide import decide
from medferry.workflows.migrate import execute_run
from medferry.workflows.replay import execute_replay
from tests.tiny_platform import MIGRATION, RESOURCES
from tests.verification.conftest import into
from tests.workflows.test_migrate import migrate

CONTENT = "content: as written"


@pytest.fixture
def waves(tiny: Environment) -> Environment:
    """Loaded in two waves: north with what is shared, then south with what is shared."""
    for wave in ("pilot", "rest"):
        migrate(tiny, wave, tiny.migration.plan.units_of_wave(wave))
    return tiny


def unequal(found: SubjectVerification) -> set[tuple[str, str]]:
    return {(one.name, one.entity) for one in filter(is_fault, found.verdict.results)}


def compared(found: SubjectVerification) -> dict[str, int]:
    """Entity → resources whose content was compared."""
    return {one.entity: one.compared for one in found.verdict.results if one.name == CONTENT and one.compared}


def differences(environment: Environment, found: SubjectVerification) -> set[tuple[str, str, str, str]]:
    columns = (difference.c.name, difference.c.entity, difference.c.key, difference.c.kind)
    with environment.manifest.begin() as connection:
        rows = connection.execute(sa.select(*columns).where(difference.c.verification_id == found.id))
        return {tuple(row) for row in rows}


def legacy(environment: Environment, *statements: str) -> None:
    with environment.source.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def test_everything_that_two_waves_have_loaded_is_proven_at_once(waves: Environment) -> None:
    found = verify_subject(waves)
    assert unequal(found) == set()
    assert found.verdict.text() == "proven"
    assert sum(compared(found).values()) == RESOURCES
    rows = {one.entity: one.compared for one in found.verdict.results if one.name == "source keys"}
    assert rows == {"clinic": 4, "staff": 2, "patient": 8, "weight": 40}


def test_what_no_run_was_about_is_no_part_of_it(tiny: Environment) -> None:
    migrate(tiny, "pilot", tiny.migration.plan.units_of_wave("pilot"))
    found = verify_subject(tiny)
    assert unequal(found) == set()
    assert compared(found) == {"clinic": 4, "staff": 4, "patient": 3, "weight": 30}
    with pytest.raises(UnknownSubject, match="Nothing of it has been loaded"):
        verify_subject(tiny, Subject(units=("south",)))


def test_an_entity_that_no_run_was_about_is_missing_in_the_units_that_were_loaded(tiny: Environment) -> None:
    """Left out of each load, or new in the plan: nobody would see that nothing of it is there."""
    some = ("clinic", "staff", "patient")
    scope = scope_of(tiny.migration, tiny.migration.plan.units_of_wave("pilot"), some)
    execute_run(tiny, "first", "run", scope, RunOptions(), lambda *_: None)
    assert verify_subject(tiny, Subject(entities=some)).verdict.text() == "proven"
    for subject, rows in ((Subject(), 30), (Subject(units=("north",)), 20)):
        found = verify_subject(tiny, subject)
        assert unequal(found) == {("source keys", "weight"), ("source count", "weight")}
        assert sum(one[3] == "not in the ledger" for one in differences(tiny, found)) == rows
    with pytest.raises(UnknownSubject, match="Nothing of it has been loaded"):
        verify_subject(tiny, Subject(entities=("weight",)))


def test_units_entities_and_keys(waves: Environment) -> None:
    assert compared(verify_subject(waves, Subject(units=("north",)))) == {"patient": 2, "weight": 20}
    assert compared(verify_subject(waves, Subject(entities=("patient",)))) == {"patient": 3}
    assert compared(verify_subject(waves, Subject(("north",), ("weight",)))) == {"weight": 20}
    by_key = verify_subject(waves, Subject(keys={"weight": ("0", "2", "3")}))
    assert unequal(by_key) == set()
    assert compared(by_key) == {"weight": 2}  # the second is quarantined
    for subject, problem in (
        (Subject(units=("east",)), "no unit east"),
        (Subject(entities=("bed",)), "no entity bed"),
        (Subject(keys={"bed": ("1",)}), "no entity bed"),
    ):
        with pytest.raises(UnknownSubject, match=problem):
            verify_subject(waves, subject)


def test_with_the_manifest_in_postgresql(tiny: Environment) -> None:
    with database.embedded() as server:
        there = Environment(tiny.migration, replace(tiny.settings, manifest_url=server.url))
        for wave in ("pilot", "rest"):
            migrate(there, wave, there.migration.plan.units_of_wave(wave))
        subjects = (Subject(), Subject(("north", "south")), Subject(keys={"weight": ("0", "3")}))
        assert [sum(compared(verify_subject(there, one)).values()) for one in subjects] == [RESOURCES, 22, 2]
        legacy(there, "DELETE FROM weight WHERE id IN (0, 2)")
        assert ("loaded before, now gone from the source", "weight") in unequal(verify_subject(there))
        there.manifest.dispose()


def test_it_is_about_its_own_records_alone(waves: Environment) -> None:
    with waves.manifest.begin() as connection:
        connection.exec_driver_sql("UPDATE target SET content_hash = '' WHERE entity = 'weight' AND value = '0'")
    assert unequal(verify_subject(waves, Subject(units=("shared",)))) == set()
    assert unequal(verify_subject(waves, Subject(keys={"weight": ("1",)}))) == set()
    for subject in (Subject(), Subject(units=("north",)), Subject(keys={"weight": ("0", "1")})):
        found = verify_subject(waves, subject)
        assert differences(waves, found) == {(CONTENT, "weight", "0", "other content")}
        assert found.verdict.text() == "not proven"


def test_an_extra_resource_under_a_key_is_found_when_that_key_is_verified(waves: Environment) -> None:
    system = waves.migration.naming.system("patient")
    with waves.medplum() as client:
        extra = {"resourceType": "Patient", "identifier": [{"system": system, "value": "1"}]}
        client.batch([{"resource": extra, "request": {"method": "POST", "url": "Patient"}}], 100)
    assert unequal(verify_subject(waves, Subject(keys={"patient": ("2",)}))) == set()
    found = verify_subject(waves, Subject(keys={"patient": ("1",)}))
    assert differences(waves, found) == {("identifiers: more than once", "patient", "1", "another resource")}


def test_the_newest_run_that_decided_a_record_counts(waves: Environment) -> None:
    """A replay in between: its records are judged by it, all others by the waves."""
    legacy(waves, "UPDATE patient SET born = '1985-02-28' WHERE id = 4")
    execute_replay(waves, "replay", "rest", Choice(), RunOptions(), lambda *_: None)
    found = verify_subject(waves)
    assert unequal(found) == set()
    assert compared(found) == {"clinic": 4, "staff": 4, "patient": 4, "weight": 40}
    south = verify_subject(waves, Subject(units=("south",)))
    assert compared(south) == {"patient": 1, "weight": 10}


def test_a_row_that_is_new_in_a_loaded_unit_is_missing(waves: Environment) -> None:
    legacy(waves, "INSERT INTO weight SELECT 100, unit, patient_id, kg, taken_at, updated_at FROM weight WHERE id = 0")
    found = verify_subject(waves)
    assert ("source keys", "weight", "100", "not in the ledger") in differences(waves, found)
    assert unequal(found) == {("source keys", "weight"), ("source count", "weight")}
    assert unequal(verify_subject(waves, Subject(keys={"weight": ("100",)}))) == unequal(found)


def test_a_row_that_is_gone_has_left_a_resource_behind_or_nothing(waves: Environment) -> None:
    legacy(waves, "DELETE FROM weight WHERE id IN (0, 2)")  # the second was quarantined
    for subject in (Subject(), Subject(units=("north", "south")), Subject(keys={"weight": ("0", "2", "4")})):
        found = verify_subject(waves, subject)
        gone = ("loaded before, now gone from the source", "weight", "0", "gone")
        assert {one for one in differences(waves, found) if one[2] == "0"} == {gone}
        assert unequal(found) - {("source keys", "weight")} == {gone[:2]}


def test_a_row_that_has_moved_to_another_unit_is_found_from_both_sides(waves: Environment) -> None:
    legacy(waves, "UPDATE weight SET unit = 'north' WHERE id = 3")  # it was shared
    for unit in ("north", "shared"):
        found = verify_subject(waves, Subject(units=(unit,)))
        assert ("source keys", "weight", "3", "other unit") in differences(waves, found)


def test_a_key_that_nobody_knows_is_not_proven(waves: Environment) -> None:
    found = verify_subject(waves, Subject(keys={"patient": ("77",)}))
    assert differences(waves, found) == {("source keys", "patient", "77", "unknown")}


def test_a_tampered_line_is_found(waves: Environment) -> None:
    own = sa.and_(unit_state.c.run_id == "pilot", unit_state.c.entity == "weight", unit_state.c.key == "1")
    for values, name in (
        ({"disposition": "lost"}, "accounting"),
        ({"disposition": "skipped", "reason": ""}, "accounting"),
        ({"disposition": "skipped", "reason": "x"}, "loaded before, now gone from the source"),
        ({"disposition": "rejected", "reason": "x"}, "manifest: resources of successful rows"),
        ({"unit": "south", "disposition": "successful", "reason": ""}, "source keys"),
    ):
        with waves.manifest.begin() as connection:
            connection.execute(sa.update(unit_state).where(own).values(values))
        assert (name, "weight") in unequal(verify_subject(waves)), values


def test_each_has_an_id_of_its_own_and_goes_on_after_a_death(
    waves: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, north = verify_subject(waves), Subject(units=("north",))
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(StoredResourceCheck, "examine", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        verify_subject(waves, north)
    begun: list[str] = []
    other = verify_subject(waves, Subject(units=("shared",)), into(begun))
    whole = len(begun)
    begun.clear()
    again = verify_subject(waves, north, into(begun))
    assert 0 < len(begun) < whole  # behind its sources
    assert len({first.id, other.id, again.id}) == 3
    begun.clear()
    assert verify_subject(waves, north, into(begun)).id not in (first.id, other.id, again.id)
    with waves.manifest.begin() as connection:
        kept = connection.execute(sa.select(verification.c.run_id, verification.c.finished_at)).all()
        assert len(kept) == 2 + 4
        assert all(finished for _, finished in kept)
        found = get_verification(connection, again.id)
        assert found is not None
        assert found.subject == {"units": ["north"], "entities": [], "keys": {}}
        assert connection.scalar(sa.select(sa.func.count()).where(period_account.c.verification_id == again.id))


def test_exceptions_are_its_own_and_are_decided_like_a_runs(waves: Environment) -> None:
    with waves.manifest.begin() as connection:
        connection.exec_driver_sql("UPDATE target SET content_hash = '' WHERE entity = 'weight' AND value = '0'")
    found = verify_subject(waves)
    [exception] = found.verdict.exceptions
    assert (exception.run_id, exception.verification_id) == (None, found.id)
    with pytest.raises(VerificationFailed, match=f"medferry exceptions --verification {found.id}"):
        found.verdict.require_passed(f"--verification {found.id}")
    decide(waves, exception.id, "accepted", "Dr. Osei", action="none")
    with waves.manifest.begin() as connection:
        assert verdict_of_verification(connection, found.id).text() == "proven, with 1 accepted exception"
        assert exceptions_of(connection, "pilot") == exceptions_of(connection, "rest") == []
        assert verdict_of(connection, "rest").text() == "proven"
        assert len(exceptions_found_by(connection, found.id)) == 1
    again = verify_subject(waves)
    assert again.verdict.text() == "not proven"  # an acceptance belongs to what it accepted


def test_a_subject_and_a_run_leave_each_others_results_alone(waves: Environment) -> None:
    with waves.manifest.begin() as connection:
        before = checks_of(connection, "rest")
    found = verify_subject(waves, choice=Sampling(sample_share=0.5, seed=1))
    assert found.verdict.text() == "proven by a sample of 50.000%"
    with waves.manifest.begin() as connection:
        assert checks_of(connection, "rest") == before
    verify_run(waves, "rest")
    with waves.manifest.begin() as connection:
        of_subject = sa.select(sa.func.count()).where(check.c.verification_id == found.id)
        assert connection.scalar(of_subject) == len(found.verdict.results)


def test_a_silent_source_proves_nothing(waves: Environment) -> None:
    legacy(waves, "DROP TABLE staff")
    waves.source.dispose()
    found = verify_subject(waves)
    names = ("loaded before, now gone from the source", "source count", "source keys")
    assert unequal(found) >= {(name, "staff") for name in names}
    assert {entity for _, entity in unequal(found)} == {"staff"}
    assert {one.status for one in filter(is_fault, found.verdict.results)} == {"could_not_check"}


def test_the_evidence_is_what_was_run_and_not_todays_files(tiny: Environment, tmp_path: Path) -> None:
    def with_check(sql: str) -> Environment:
        folder = Path(shutil.copytree(MIGRATION, tmp_path / sql.strip()))
        value = {"name": "family", "sql": sql, "path": "name.family", "compare": "text"}
        main = {"when": "deleted_at IS NULL", "checks": [value]}
        checks = {"from": "patient", "key": "id", "resources": {"main": main}}
        (folder / "checks" / "patient.yaml").write_text(yaml.safe_dump(checks))
        return Environment(load_migration(folder), tiny.settings)

    then, today = with_check("family"), with_check("UPPER(family)")
    with suppress(VerificationFailed):
        migrate(then, "r")
    with today.manifest.begin() as connection:
        shown = reconcile(connection, today.migration, "r").as_json()
    [run] = shown["declared_checks"]["patient"]["resources"]["main"]["checks"]
    assert (run["sql"], run["path"], run["compare"]) == ("family", "name.family", "text")
    assert "declared" not in shown["verification"]


def test_a_resource_that_lost_its_identifier_hides_no_twin_of_another(waves: Environment) -> None:
    with waves.medplum() as client:
        ada, ben, *_ = client.search_all("Patient", [("_sort", "_id")])
        bare = {name: value for name, value in ben.items() if name != "identifier"}
        twin = {name: value for name, value in ada.items() if name not in ("id", "meta")}
        client.batch([{"resource": bare, "request": {"method": "PUT", "url": f"Patient/{ben['id']}"}}], 100)
        client.batch([{"resource": twin, "request": {"method": "POST", "url": "Patient"}}], 100)
    key = ada["identifier"][0]["value"]
    found = differences(waves, verify_subject(waves))
    assert ("identifiers: more than once", "patient", key, "another resource") in found


def test_a_chart_that_differs_by_its_reviewer_counts_for_each_subject_that_it_is_in(waves: Environment) -> None:
    found = {name: verify_subject(waves, subject) for name, subject in CHARTED.items()}

    def review(run_id: str, outcome: ReviewOutcome) -> set[str]:
        """Record it; returns the subjects in which a chart differs then."""
        with waves.manifest.begin() as connection:
            record_charts(connection, run_id, "patient", 7, [("1", "given"), ("2", "given")])
            record_review(connection, run_id, "1", "Dr. Osei", outcome, "")
            verdicts = {name: verdict_of_verification(connection, one.id) for name, one in found.items()}
        for name, verdict in verdicts.items():
            if verdict.differing_charts:
                with pytest.raises(
                    VerificationFailed, match=r"1 charts differ, by their reviewers.*medferry charts RUN"
                ):
                    verdict.require_passed(f"--verification {found[name].id}")
        assert verdicts["everything"].text() == ("proven" if outcome == ReviewOutcome.AGREES else "not proven")
        return {name for name, verdict in verdicts.items() if verdict.differing_charts}

    assert review("pilot", ReviewOutcome.DIFFERS) == {"everything", "its unit", "its entity", "itself"}
    assert verify_subject(waves).verdict.text() == "not proven"
    assert review("rest", ReviewOutcome.AGREES) == set()
    assert review("pilot", ReviewOutcome.DIFFERS) == {"everything", "its unit", "its entity", "itself"}


CHARTED = {
    "everything": Subject(),
    "its unit": Subject(units=("north",)),
    "its entity": Subject(entities=("patient",)),
    "itself": Subject(keys={"patient": ("1",)}),
    "another unit": Subject(units=("south",)),
    "another entity": Subject(entities=("weight",)),
    "another patient": Subject(keys={"patient": ("2",)}),
}
