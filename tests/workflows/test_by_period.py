"""A wave loaded by periods, the newest first: nothing is lost, and the wave's own run finds nothing to do."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from medferry.cli.main import app
from medferry.definition.migration import load_migration
from medferry.errors import DefinitionError, VerificationFailed
from medferry.manifest.accounting import accounts
from medferry.manifest.database import create_manifest
from medferry.manifest.kinds import RunKind
from medferry.manifest.runs import get_run, list_runs, slices_of
from medferry.manifest.tables import source_record
from medferry.mapping.outcomes import Reason
from medferry.plan.periods import Period
from medferry.runtime.environment import Environment, own_run
from medferry.runtime.options import RunOptions
from medferry.runtime.systems import check_systems
from medferry.stages.by_period import anything_in_period, prepare_period
from medferry.stages.extract import extract_slice
from medferry.stages.load import load_session
from medferry.stages.prepare import RunScope, scope_of
from medferry.stages.transform import transform_slice
from medferry.workflows.migrate import execute_period, execute_run
from tests import tiny_platform

MIDDLE = date(2024, 5, 15)
NEWER, OLDER = Period(MIDDLE, None), Period(None, MIDDLE)
KIND = f"{RunKind.HISTORY}_pilot"
Ends = dict[str, tuple[int, int]]
"""Entity → (eligible, created)."""


@pytest.fixture
def pilot(tiny: Environment) -> RunScope:
    """The units north and shared; one weight of north has no date, which keeps it out of Medplum."""
    write(tiny, "INSERT INTO weight VALUES (90, 'north', 1, 55, NULL, NULL)")
    return scope_of(tiny.migration, tiny.migration.plan.units_of_wave("pilot"), None)


def write(environment: Environment, *statements: str) -> None:
    engine = sa.create_engine(environment.settings.source_url)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def load(environment: Environment, scope: RunScope, period: Period, run_id: str) -> Ends:
    assert execute_period(environment, run_id, KIND, scope, period, RunOptions(), lambda *_: None)
    return ends(environment, run_id)


def ends(environment: Environment, run_id: str) -> Ends:
    found: dict[str, Counter[str]] = {}
    with environment.manifest.begin() as connection:
        for row in accounts(connection, run_id):
            found.setdefault(row.entity, Counter()).update(eligible=row.eligible, created=row.created)
    return {entity: (counts["eligible"], counts["created"]) for entity, counts in found.items()}


def created_by_the_wave(environment: Environment, scope: RunScope) -> int:
    execute_run(environment, "wave", "wave_pilot", scope, RunOptions(), lambda *_: None)
    return sum(created for _, created in ends(environment, "wave").values())


def test_the_newest_come_first_with_all_that_has_no_date_and_the_wave_finds_nothing_to_do(
    tiny: Environment, pilot: RunScope
) -> None:
    newer = load(tiny, pilot, NEWER, "newer")
    assert {name: newer[name] for name in ("clinic", "staff", "patient")} == {
        "clinic": (4, 4),
        "staff": (2, 4),
        "patient": (4, 3),
    }
    write(tiny, "INSERT INTO patient VALUES (9, 'north', 1, 'New', '2000-01-01', 'F', NULL)")
    older = load(tiny, pilot, OLDER, "older")
    assert older.keys() == {"patient", "weight"}
    assert older["patient"] == (1, 1)
    assert newer["weight"][0] + older["weight"][0] == 30 + 1
    assert newer["weight"][1] + older["weight"][1] == 30 + 1
    assert created_by_the_wave(tiny, pilot) == 0
    assert not anything_in_period(tiny, "none", pilot, Period(date(1999, 1, 1), date(1999, 2, 1)))


def test_a_period_that_was_killed_is_loaded_again_and_none_of_the_undated_is_lost(
    tiny: Environment, pilot: RunScope
) -> None:
    slices = staged(tiny, pilot, NEWER, "killed")
    run, options = own_run(tiny, "killed")
    with load_session(tiny, run, options) as session:
        session.load(slices[:1])  # and nobody tidies up
    taking_over = RunOptions(take_over=True)
    assert execute_period(tiny, "older", KIND, pilot, OLDER, taking_over, lambda *_: None)
    assert ends(tiny, "older")["patient"] == (3, 3)  # the one that is skipped was decided before
    assert load(tiny, pilot, NEWER, "again")["weight"][1] > 0
    assert created_by_the_wave(tiny, pilot) == 0


def staged(environment: Environment, scope: RunScope, period: Period, run_id: str) -> list[str]:
    """The slices of a period's run that is prepared and transformed."""
    create_manifest(environment.settings.manifest_url)
    check_systems(environment, dry=False)
    slices = [each.id for each in prepare_period(environment, run_id, KIND, scope, period, RunOptions())]
    for slice_id in slices:
        extract_slice(environment, run_id, slice_id)
        transform_slice(environment, run_id, slice_id)
    return slices


def test_what_dated_records_refer_to_comes_along_from_other_periods(tiny: Environment, pilot: RunScope) -> None:
    patient = replace(tiny.migration.entities["patient"], dated="born")
    entities = {**tiny.migration.entities, "patient": patient}
    dated = Environment(replace(tiny.migration, entities=entities), tiny.settings)
    write(dated, "INSERT INTO patient VALUES (9, 'north', 1, 'Old', '1950-01-01', 'F', NULL)")
    newer = load(dated, pilot, NEWER, "newer")
    assert newer["patient"] == (3, 3)  # 1, 2 and 8: nobody weighed the others
    assert newer["weight"][1] == newer["weight"][0]
    assert load(dated, pilot, OLDER, "older")["patient"] == (5, 1)
    assert created_by_the_wave(dated, pilot) == 0


def test_a_row_that_goes_before_it_is_read_is_accounted_for(tiny: Environment, pilot: RunScope) -> None:
    create_manifest(tiny.settings.manifest_url)
    check_systems(tiny, dry=False)
    slices = [each.id for each in prepare_period(tiny, "one", KIND, pilot, OLDER, RunOptions())]
    write(tiny, "DELETE FROM weight WHERE id = 0")
    for slice_id in slices:
        extract_slice(tiny, "one", slice_id)
        transform_slice(tiny, "one", slice_id)
    with tiny.manifest.begin() as connection:
        found = {(row.entity, row.unit): row.skipped for row in accounts(connection, "one") if row.entity == "weight"}
        assert get_run(connection, "one").kind == KIND
        assert any(each.keys and "0" in each.keys for each in slices_of(connection, "one"))
    assert sum(found.values()) == 1


FOREIGN = ["http://npi|1", "https://tiny.example/legacy/patient|a%00b"]
"""Of a system that is no entity's, and of a key that no row can have."""


@pytest.mark.parametrize("token", FOREIGN)
def test_what_refers_to_no_record_ends_as_in_a_plain_run(
    tiny: Environment, pilot: RunScope, tmp_path: Path, token: str
) -> None:
    folder = shutil.copytree(tiny_platform.MIGRATION, tmp_path / "tiny", ignore=shutil.ignore_patterns("__pycache__"))
    mapping = folder / "mappings" / "weight.py"
    performer = f'performer=[{{"reference": "Organization?identifier={token}"}}],'
    mapping.write_text(mapping.read_text().replace('status="final",', f'status="final",\n        {performer}'))
    entity = folder / "entities" / "patient.sql"
    entity.write_text(entity.read_text().replace("-- unit: unit\n", "-- unit: unit\n-- dated: born\n"))
    foreign = Environment(load_migration(folder), tiny.settings)
    assert foreign.migration.entities["patient"].dated
    with pytest.raises(VerificationFailed, match="quarantined of all"):
        load(foreign, pilot, NEWER, "newer")
    with pytest.raises(VerificationFailed, match="quarantined of all"):
        execute_run(foreign, "wave", "wave_pilot", pilot, RunOptions(stop_at_share=1), lambda *_: None)
    for run_id in ("newer", "wave"):
        assert _unresolved(foreign, run_id) > 0
    with foreign.manifest.begin() as connection:
        assert {row.entity for row in accounts(connection, "newer") if row.quarantined} == {"weight"}


def _unresolved(environment: Environment, run_id: str) -> int:
    of_weights = (source_record.c.run_id == run_id, source_record.c.reason == Reason.UNRESOLVED_REFERENCE)
    with environment.manifest.begin() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(source_record).where(*of_weights)) or 0


# -- the command line ------------------------------------------------------------------------------


@pytest.fixture
def migration(tiny: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With a history of the pilot wave by years."""
    for name, value in tiny_platform.variables(tiny.settings).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    folder = shutil.copytree(tiny_platform.MIGRATION, tmp_path / "tiny", ignore=shutil.ignore_patterns("__pycache__"))
    plan = folder / "plan.yaml"
    line = "units: [north], history: {every: year, from: 2023-01-01}}"
    plan.write_text(plan.read_text().replace("units: [north]}", line))
    return Path(folder)


def test_the_whole_history_of_a_wave_in_one_command_also_as_a_rehearsal(tiny: Environment, migration: Path) -> None:
    given = ["run", "-m", str(migration), "--wave", "pilot", "--by-period"]
    rehearsed = CliRunner().invoke(app, [*given, "--dry-run"])
    assert rehearsed.exit_code == 0, rehearsed.output
    with tiny.medplum() as client:
        assert client.count("Patient") == 0
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    with tiny.manifest.begin() as connection:
        found = list_runs(connection, "tiny", 99)
    real = [run for run in reversed(found) if not run.options["dry_run"]]
    assert [run.kind for run in real] == [KIND] * 2  # of the newest, for the undated, and of 2024
    assert [run.status for run in real] == ["succeeded"] * 2
    assert "nothing to do" in done.output
    bad = CliRunner().invoke(app, ["run", "-m", str(migration), "--wave", "rest", "--by-period"])
    assert bad.exit_code == 1 and "no history" in bad.output


def test_periods_need_a_date(migration: Path) -> None:
    entity = migration / "entities" / "weight.sql"
    entity.write_text(entity.read_text().replace("-- dated: taken_at\n", ""))
    with pytest.raises(DefinitionError, match="no entity has a date"):
        load_migration(migration)
