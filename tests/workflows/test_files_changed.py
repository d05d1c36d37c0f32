"""A deployment while a run is at work: no run mixes what two versions of the files have made of its rows."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa

from medferry.definition.migration import load_migration
from medferry.manifest import runs
from medferry.manifest.tables import unit_state
from medferry.runtime.continuing import FilesChanged
from medferry.runtime.environment import Environment
from medferry.runtime.options import RunOptions
from medferry.stages.extract import extract_slice
from medferry.stages.load import load_slice
from medferry.stages.prepare import prepare_run, scope_of
from medferry.stages.transform import transform_slice
from medferry.workflows.finish import finish_run
from tests.tiny_platform import MIGRATION, RESOURCES
from tests.workflows.test_migrate import migrate

STAGES = (extract_slice, transform_slice, load_slice)


@pytest.fixture
def deployed(tiny: Environment, tmp_path: Path) -> Environment:
    """The tiny platform with a copy of the migration that a test may change."""
    shutil.copytree(MIGRATION, tmp_path / "tiny", ignore=shutil.ignore_patterns("__pycache__"))
    return Environment(load_migration(tmp_path / "tiny"), tiny.settings)


def change(environment: Environment) -> None:
    """What a person would do: another name for a sex."""
    table = environment.migration.folder / "terminology/sex.csv"
    table.write_text(table.read_text().replace("Male,approved", "male,approved"))


def in_a_new_process(environment: Environment) -> Environment:
    """What a task sees, which reads the files when it begins."""
    return Environment(load_migration(environment.migration.folder), environment.settings)


def slices(environment: Environment) -> list[str]:
    found = prepare_run(environment, "r", "run", scope_of(environment.migration, None, None), RunOptions())
    return [slice_.id for slice_ in found]


@pytest.mark.parametrize("done", [0, 1, 2], ids=["extract", "transform", "load"])
@pytest.mark.parametrize("again", [True, False], ids=["read anew", "read before"])
def test_every_task_refuses_other_files_than_its_run_was_prepared_with(
    deployed: Environment, done: int, again: bool
) -> None:
    ids = slices(deployed)
    for stage in STAGES[:done]:
        for slice_id in ids:
            stage(deployed, "r", slice_id)
    change(deployed)
    task = in_a_new_process(deployed) if again else deployed
    with pytest.raises(FilesChanged, match=r"What to do: Start a new run"):
        STAGES[done](task, "r", ids[0])
    with deployed.manifest.begin() as connection:
        assert runs.get_slice(connection, "r", ids[0]).stage == ("planned", "extracted", "transformed")[done]


def test_a_run_is_not_resumed_with_other_files_and_ends_with_its_own(deployed: Environment) -> None:
    ids = slices(deployed)
    for slice_id in ids:
        extract_slice(deployed, "r", slice_id)
    finish_run(deployed, "r", failed=True)
    change(deployed)
    with pytest.raises(FilesChanged, match="Run r was started with another version"):
        migrate(in_a_new_process(deployed), "r")
    table = deployed.migration.folder / "terminology/sex.csv"
    table.write_text((MIGRATION / "terminology/sex.csv").read_text())
    assert migrate(in_a_new_process(deployed), "r")["created"] == RESOURCES


def test_a_new_run_maps_everything_again_that_other_files_have_mapped(deployed: Environment) -> None:
    migrate(deployed, "first")
    change(deployed)
    mended = in_a_new_process(deployed)
    migrate(mended, "second")
    prints = {deployed.migration.fingerprint, mended.migration.fingerprint}
    assert len(prints) == 2
    with mended.manifest.begin() as connection:
        of_records = sa.select(unit_state.c.fingerprint).distinct()
        assert list(connection.execute(of_records).scalars()) == [mended.migration.fingerprint]


def test_a_record_is_kept_with_the_files_that_mapped_it_whatever_its_run_says(deployed: Environment) -> None:
    """So that what was mapped by anything else is mapped again, should ever a run be continued by other files."""
    ids = slices(deployed)
    for slice_id in ids:
        extract_slice(deployed, "r", slice_id)
    change(deployed)
    other = in_a_new_process(deployed)
    with deployed.manifest.begin() as connection:
        connection.exec_driver_sql(f"UPDATE run SET fingerprint = '{other.migration.fingerprint}'")
    for slice_id in ids:
        transform_slice(other, "r", slice_id)
    with deployed.manifest.begin() as connection:
        kept = connection.exec_driver_sql("SELECT DISTINCT fingerprint FROM source_unit").scalars().all()
    assert kept == [other.migration.fingerprint]
