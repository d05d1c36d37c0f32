"""Dead letters run again: exactly those, after the mapping or the source was corrected."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from medferry.definition.migration import load_migration
from medferry.errors import LeaseHeld, VerificationFailed
from medferry.governance.register import is_fault
from medferry.manifest import leases, runs
from medferry.manifest.checks import checks_of
from medferry.manifest.dead_letters import Choice, dead_letters
from medferry.manifest.tables import source_record
from medferry.report.reconciliation import reconcile
from medferry.report.write import render_html
from medferry.runtime.continuing import OtherScope
from medferry.runtime.environment import Environment
from medferry.runtime.options import RunOptions
from medferry.stages.prepare import ScopeError, prepare_run, scope_of
from medferry.stages.replay import prepare_replay
from medferry.verification.run import verify_run
from medferry.workflows.replay import execute_replay
from tests.stages.identifiers import identifiers_in_medplum
from tests.tiny_platform import MIGRATION, RESOURCES
from tests.workflows.test_migrate import dispositions, migrate

ALL = Choice()
DEAD = {("patient", key) for key in "4567"} | {("weight", str(key)) for key in range(2, 40, 4)}
MENDED = ("UPDATE patient SET born = '1985-02-28' WHERE id = 4", "UPDATE patient SET family = 'F' WHERE id = 6")


@pytest.fixture
def loaded(tiny: Environment) -> Environment:
    """The tiny platform after a run that left 14 dead letters."""
    migrate(tiny, "first")
    return tiny


def change(tiny: Environment, *statements: str) -> None:
    with tiny.source.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def with_sex_x(tiny: Environment, folder: Path) -> Environment:
    """The environment with a code approved since: the migration's fingerprint is another."""
    shutil.copytree(MIGRATION, folder / "tiny", ignore=shutil.ignore_patterns("__pycache__"))
    table = folder / "tiny" / "terminology" / "sex.csv"
    gender = "http://hl7.org/fhir/administrative-gender"
    text = table.read_text().replace("X,To be reviewed,,,,draft", f"X,Other,{gender},other,Other,approved")
    table.write_text(text)
    return Environment(load_migration(folder / "tiny"), tiny.settings)


def replay(tiny: Environment, run_id: str = "again", of: str | None = "first", choice: Choice = ALL, **options):
    chosen = RunOptions.model_validate(options)
    return execute_replay(tiny, run_id, of, choice, chosen, lambda *_: None)


def ends(tiny: Environment, run_id: str) -> dict[tuple[str, str], str]:
    columns = (source_record.c.entity, source_record.c.key, source_record.c.disposition, source_record.c.reason)
    with tiny.manifest.begin() as connection:
        rows = connection.execute(sa.select(*columns).where(source_record.c.run_id == run_id)).all()
    return {(entity, key): f"{disposition} {reason}".strip() for entity, key, disposition, reason in rows}


def now(tiny: Environment, of: str = "first") -> dict[tuple[str, str], str]:
    names = (tiny.migration.name, tiny.migration.systems)
    return {(one.entity, one.key): one.now for one in dead_letters(tiny.manifest, *names, of)}


@pytest.mark.parametrize("options", [{}, {"slice_rows": 3, "batch_size": 2, "lanes": 4}, {"load_mode": "conditional"}])
def test_what_was_mended_arrives_with_all_that_hung_on_it(
    loaded: Environment, tmp_path: Path, options: dict[str, object]
) -> None:
    before = ends(loaded, "first")
    assert now(loaded).keys() == DEAD
    change(loaded, *MENDED)
    mended = with_sex_x(loaded, tmp_path)
    results = replay(mended, **options)
    assert not list(filter(is_fault, results))
    assert ends(mended, "again") == dict.fromkeys(DEAD, "successful") | {
        ("patient", "7"): "quarantined unresolved-reference"
    }
    assert ends(mended, "first") == before
    assert now(mended) == dict.fromkeys(DEAD, "successful") | {("patient", "7"): "quarantined"}
    with mended.manifest.begin() as connection:
        run = runs.get_run(connection, "again")
        slices = runs.slices_of(connection, "again")
    assert (run.kind, run.status, run.replays) == ("replay", "succeeded", "first")
    assert (run.units, run.entities) == (["south"], ["patient", "weight"])
    assert run.fingerprint == mended.migration.fingerprint != loaded.migration.fingerprint
    assert sorted((one.entity, key) for one in slices for key in one.keys or ()) == sorted(DEAD)
    assert max(len(one.keys or ()) for one in slices) <= int(str(options.get("slice_rows", 5_000)))
    whole = migrate(mended, "whole")
    assert whole == {"created": 0, "updated": 0, "unchanged": RESOURCES + 3 + 10}


def test_a_choice_replays_exactly_those(loaded: Environment) -> None:
    change(loaded, *MENDED)
    replay(loaded, choice=Choice(reasons=["impossible-date"]))
    assert ends(loaded, "again") == {("patient", "4"): "successful"}
    replay(loaded, "then", choice=Choice(entities=["weight"]))
    assert set(ends(loaded, "then").values()) == {"successful"}
    assert len(ends(loaded, "then")) == 10


def test_what_is_settled_is_not_replayed_again_and_nothing_to_replay_makes_no_run(
    loaded: Environment, tmp_path: Path
) -> None:
    change(loaded, *MENDED, "UPDATE patient SET clinic_id = 1 WHERE id = 7")
    replay(loaded)
    assert {unit for unit, end in ends(loaded, "again").items() if end != "successful"} == {("patient", "5")}
    mended = with_sex_x(loaded, tmp_path)
    replay(mended, "then")
    assert ends(mended, "then") == {("patient", "5"): "successful"}
    assert replay(mended, "third") == []
    assert replay(mended, "third", of=None) == []
    with mended.manifest.begin() as connection:
        assert runs.find_run(connection, "third") is None


def test_the_newest_run_is_replayed_by_default(loaded: Environment) -> None:
    replay(loaded, "one", of=None)
    replay(loaded, "two", of=None)
    with loaded.manifest.begin() as connection:
        assert [runs.get_run(connection, name).replays for name in ("one", "two")] == ["first", "one"]
    assert ends(loaded, "two") == ends(loaded, "one")


def test_the_report_of_a_replay_names_the_run_that_it_replays(loaded: Environment) -> None:
    replay(loaded)
    with loaded.manifest.begin() as connection:
        content = reconcile(connection, loaded.migration, "again")
    assert content.as_json()["replays"] == "first"
    assert "of the dead letters of <code>first</code>" in render_html(content)
    assert "medferry dead-letters again" in render_html(content)


def test_a_row_that_vanished_since_is_skipped_in_its_unit_and_never_lost(loaded: Environment) -> None:
    change(loaded, "DELETE FROM patient WHERE id = 4")
    results = replay(loaded)
    assert not list(filter(is_fault, results))
    assert ends(loaded, "again").keys() == DEAD
    assert ends(loaded, "again")["patient", "4"] == "skipped source-row-gone"
    assert dispositions(loaded, "again")["south", "patient"] == {"quarantined": 2, "rejected": 1, "skipped": 1}
    assert now(loaded)["patient", "4"] == "skipped"


def test_a_vanished_row_that_was_loaded_before_is_told_as_a_difference(loaded: Environment) -> None:
    change(loaded, "UPDATE patient SET born = 'no day' WHERE id = 1")
    with pytest.raises(VerificationFailed, match="leftovers"):
        migrate(loaded, "second")
    change(loaded, "DELETE FROM patient WHERE id = 1")
    with pytest.raises(VerificationFailed, match="now gone from the source of patient"):
        replay(loaded, of="second", choice=Choice(entities=["patient"]))
    assert ends(loaded, "again")["patient", "1"] == "skipped source-row-gone"


def test_a_row_that_moved_to_another_unit_is_replayed_there(loaded: Environment) -> None:
    change(loaded, *MENDED, "UPDATE patient SET unit = 'north' WHERE id = 4")
    replay(loaded, choice=Choice(entities=["patient"]))
    with loaded.manifest.begin() as connection:
        assert runs.get_run(connection, "again").units == ["north", "south"]
    assert dispositions(loaded, "again")["north", "patient"] == {"successful": 1}


@pytest.mark.parametrize(
    ("between", "check", "told"),
    [
        ("DELETE FROM patient WHERE id = 4", "source keys", "4 not in the source"),
        ("UPDATE patient SET unit = 'north' WHERE id = 5", "source count", "in the source"),
        ("INSERT INTO patient SELECT * FROM patient WHERE id = 6", "source count", "5 in the source, 4 in the ledger"),
    ],
)
def test_the_verification_sees_a_key_that_is_not_as_the_ledger_says(
    loaded: Environment, between: str, check: str, told: str
) -> None:
    replay(loaded)
    change(loaded, between)
    assert told in " ".join(differences(loaded, "patient")[check])


def test_the_verification_sees_a_key_that_the_ledger_lost_or_takes_for_gone(loaded: Environment) -> None:
    replay(loaded)
    six = "run_id = 'again' AND entity = 'weight' AND key = '6'"
    with loaded.manifest.begin() as connection:
        connection.exec_driver_sql(f"UPDATE source_unit SET reason = 'source-row-gone' WHERE {six}")
    assert differences(loaded, "weight")["source keys"] == ["6 gone in the ledger"]
    with loaded.manifest.begin() as connection:
        connection.exec_driver_sql(f"DELETE FROM source_unit WHERE {six}")
    found = differences(loaded, "weight")
    assert found["source keys"] == ["6 not in the ledger"]
    assert "10 extracted, 9 in the ledger" in found["accounting"][0]


def differences(tiny: Environment, entity: str) -> dict[str, list[str]]:
    results = verify_run(tiny, "again", force=True)
    return {one.name: one.examples for one in results if one.status == "different" and one.entity == entity}


def test_the_plan_s_thresholds_are_those_of_the_whole_run(loaded: Environment) -> None:
    limits = loaded.migration.plan.acceptance.model_copy(update={"max_quarantined_share": 3 / 54})
    plan = loaded.migration.plan.model_copy(update={"acceptance": limits})
    strict = Environment(replace(loaded.migration, plan=plan), loaded.settings)
    with pytest.raises(VerificationFailed, match="acceptance: quarantined"):
        replay(strict, "unmended")
    change(loaded, *MENDED)
    replay(strict, "mended")  # 2 of the 54 of the first run are still quarantined
    with strict.manifest.begin() as connection:
        [check] = [one for one in checks_of(connection, "mended") if one.name == "acceptance: quarantined"]
    assert (check.status, check.compared) == ("equal", 54)


def test_a_replay_is_refused_while_another_run_has_its_scope(loaded: Environment) -> None:
    with loaded.manifest.begin() as connection:
        leases.acquire(connection, "tiny", "other", ["south/weight"])
    with pytest.raises(LeaseHeld, match="other"):
        replay(loaded)
    replay(loaded, choice=Choice(entities=["patient"]))


def test_a_killed_replay_goes_on_and_doubles_nothing(loaded: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    change(loaded, *MENDED)
    first = prepare_replay(loaded, "again", "first", Choice(), RunOptions())
    assert prepare_replay(loaded, "again", "first", Choice(entities=["weight"]), RunOptions()) == first
    replay(loaded)
    assert set(identifiers_in_medplum(loaded).values()) == {1}
    assert set(now(loaded).values()) == {"successful", "quarantined"}


def test_a_dry_replay_tries_the_correction_and_settles_nothing(loaded: Environment) -> None:
    change(loaded, *MENDED)
    replay(loaded, dry_run=True)
    assert ends(loaded, "again")["patient", "4"] == "pending"
    assert ends(loaded, "again")["patient", "5"] == "quarantined unmapped-code"
    assert set(now(loaded).values()) == {"quarantined", "rejected"}
    assert sum(identifiers_in_medplum(loaded).values()) == RESOURCES
    with pytest.raises(ScopeError, match="was a dry run"):
        replay(loaded, "real", of="again")


def test_what_cannot_be_replayed_is_told(loaded: Environment) -> None:
    with pytest.raises(runs.UnknownRun):
        replay(loaded, of="nowhere")
    with pytest.raises(ScopeError, match="no sample"):
        replay(loaded, dry_run=True, sample=1)
    change(loaded, "UPDATE patient SET unit = 'east' WHERE id = 4")
    with pytest.raises(ScopeError, match="does not name: east"):
        replay(loaded)
    fewer = {name: entity for name, entity in loaded.migration.entities.items() if name != "weight"}
    less = Environment(replace(loaded.migration, entities=fewer), loaded.settings)
    with pytest.raises(ScopeError, match="no entity weight"):
        replay(less)


def test_a_replay_is_not_continued_as_a_run_of_another_scope(loaded: Environment) -> None:
    replay(loaded)
    with pytest.raises(OtherScope, match="another scope"):
        prepare_run(loaded, "again", "run", scope_of(loaded.migration, None, None), RunOptions())
