"""The events of assets: of whole waves that are in Medplum in earnest, and of nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from airflow.sdk import DAG
from airflow.sdk.execution_time.context import OutletEventAccessors

from medferry.definition.migration import load_migration
from medferry.manifest.database import create_manifest
from medferry.manifest.kinds import RunKind
from medferry.manifest.runs import RunRow, RunStatus, add_run
from medferry.manifest.tables import source_record
from medferry.mapping.outcomes import Disposition
from medferry.runtime.environment import Environment
from medferry.runtime.settings import Settings
from medferry_airflow.assets import WAVES, Milestone
from medferry_airflow.milestones import tell_milestone, whole_waves
from tests import tiny_platform

TINY = load_migration(tiny_platform.MIGRATION)
ALL = list(TINY.entities)


def run_of(**values: Any) -> RunRow:
    units, options = TINY.plan.units_of_wave("rest"), {"dry_run": False}
    row = RunRow("r", "tiny", RunKind.WAVE, RunStatus.RUNNING, units, ALL, options, "f", "2026", None)
    return RunRow(**{name: values.get(name, getattr(row, name)) for name in RunRow.__slots__})


@pytest.mark.parametrize(
    ("values", "waves"),
    [
        ({}, ["rest"]),
        ({"kind": RunKind.BIG_BANG, "units": TINY.plan.unit_ids}, ["pilot", "rest"]),
        ({"kind": RunKind.BIG_BANG, "units": ["shared"]}, []),
        ({"options": {"dry_run": True}}, []),
        ({"entities": ALL[:-1]}, []),
        ({"kind": RunKind.REPLAY}, []),
        ({"kind": "history_rest"}, []),
    ],
)
def test_only_a_whole_wave_in_earnest_counts(values: dict[str, Any], waves: list[str]) -> None:
    assert whole_waves(TINY, run_of(**values)) == waves


def test_an_event_carries_counts_and_no_key(tmp_path: Path) -> None:
    settings = Settings(manifest_url=f"sqlite:///{tmp_path}/manifest.db")
    create_manifest(settings.manifest_url)
    environment = Environment(TINY, settings)
    with environment.manifest.begin() as connection:
        add_run(connection, run_of(), [])
        for key, disposition in (("Byron-1", Disposition.SUCCESSFUL), ("Byron-2", Disposition.QUARANTINED)):
            line = {"run_id": "r", "entity": "patient", "key": key, "unit": "south", "slice_id": "s"}
            connection.execute(sa.insert(source_record).values(**line, disposition=disposition, mapping_version="1"))
    events = OutletEventAccessors()
    tell_milestone(environment, "r", Milestone.PROVEN, events)
    [event] = events[WAVES].asset_alias_events
    assert event.dest_asset_key.uri == "medferry://tiny/rest/proven"
    counts = {"eligible": 2, "successful": 1, "rejected": 0, "skipped": 0, "quarantined": 1}
    assert event.extra == {"run": "r", **counts}


def test_the_tasks_that_know_name_the_alias(migration_dags: list[DAG]) -> None:
    for dag in migration_dags:
        assert {task.task_id for task in dag.tasks if WAVES in task.outlets} == {"verify", "conclude"}
