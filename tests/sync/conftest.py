"""The tiny platform with a journal, loaded, swept and so in step."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from medferry.definition.migration import load_migration
from medferry.manifest.database import create_manifest
from medferry.manifest.kinds import RunKind
from medferry.plan.authority import AuthorityMatrix
from medferry.runtime.environment import Environment, own_run
from medferry.runtime.options import RunOptions
from medferry.runtime.systems import check_systems
from medferry.source.changes.engines import install
from medferry.source.changes.sweep import Throttle
from medferry.stages.extract import extract_slice
from medferry.stages.load import load_session
from medferry.stages.prepare import prepare_run, scope_of
from medferry.stages.transform import transform_slice
from medferry.sync.sweeping import sweep_wave
from medferry.sync.wave import SyncedWave, synced_wave
from medferry.workflows.finish import finish_run
from tests import tiny_platform

CAPTURE = """
entities:
  clinic: {tables: {clinic: id}}
  staff: {tables: {staff: id}}
  patient: {tables: {patient: id}}
  weight: {tables: {weight: id}}
"""
FREE = Throttle(rows_per_second=1e9, latency=60)
Write = Callable[..., None]


@pytest.fixture
def captured(tiny: Environment, tmp_path: Path) -> Environment:
    """The tiny platform with capture rules."""
    folder = shutil.copytree(tiny_platform.MIGRATION, tmp_path / "tiny", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "capture.yaml").write_text(CAPTURE)
    return Environment(load_migration(folder), tiny.settings)


def load(environment: Environment, units: list[str] | None, overwrite: bool = False) -> None:
    """A run without its verification."""
    run_id = f"{'over' if overwrite else 'first'} {units}"
    create_manifest(environment.settings.manifest_url)
    check_systems(environment, dry=False)
    scope, asked = scope_of(environment.migration, units, None), RunOptions(overwrite=overwrite)
    slices = [slice_.id for slice_ in prepare_run(environment, run_id, RunKind.WHOLE, scope, asked)]
    for slice_id in slices:
        extract_slice(environment, run_id, slice_id)
        transform_slice(environment, run_id, slice_id)
    run, options = own_run(environment, run_id)
    with load_session(environment, run, options) as session:
        session.load(slices)
    finish_run(environment, run_id, failed=True)


@pytest.fixture
def loaded(captured: Environment) -> Environment:
    """… loaded."""
    load(captured, None)
    return captured


@pytest.fixture
def wave(loaded: Environment) -> SyncedWave:
    """The pilot wave in step: the units north and shared."""
    wave = synced_wave(loaded, "pilot")
    install(loaded.capture, wave.journal)
    sweep_wave(wave, FREE)
    return wave


def written_back(environment: Environment, wave_id: str) -> SyncedWave:
    """A wave of which both systems may be written."""
    rule = {"domain": "people", "writer": "both", "accepted_by": "A. Owner", "reason": "both teams are at work"}
    matrix = AuthorityMatrix.model_validate({"domains": {"people": ["patient"]}, "rules": [rule]})
    plan = environment.migration.plan.model_copy(update={"authority": matrix})
    migration = replace(environment.migration, plan=plan)
    settings = replace(environment.settings, legacy_writer_url=environment.settings.source_url)
    return SyncedWave(Environment(migration, settings), wave_id)


@pytest.fixture
def write(captured: Environment) -> Write:
    """Runs statements in one transaction, as the legacy application would."""

    def run(*statements: str) -> None:
        with captured.source.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    return run


def families(environment: Environment) -> dict[str, str]:
    """Source key → family name of every patient in Medplum."""
    system = environment.migration.naming.system("patient")
    with environment.medplum() as client:
        found = list(client.search_all("Patient", []))
    return {
        identifier["value"]: resource["name"][0]["family"]
        for resource in found
        for identifier in resource["identifier"]
        if identifier["system"] == system
    }
