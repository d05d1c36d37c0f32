"""What holds for every DAG of this repository."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import sqlalchemy
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG, Connection, ExceptionRetryPolicy, Variable
from airflow.serialization.serialized_objects import DagSerialization

from medferry.definition.migration import load_migration
from medferry.plan.model import Sync
from medferry_airflow.definition import current_migration
from medferry_airflow.factory import TAGS, verify_schedule
from medferry_airflow.names import POOL
from tests import tiny_platform
from tests.dags.conftest import ROOT, parse


def test_every_file_parses_and_every_way_of_migrating_has_its_dag(bag: DagBag) -> None:
    waves = [f"wave_{wave.id}" for wave in current_migration().plan.waves]
    assert bag.import_errors == {}
    assert sorted(bag.dags) == sorted(["big_bang", "verify", "replay", "control", "panic", *waves])


def test_every_dag_can_be_serialized(dags: dict[str, DAG]) -> None:
    for dag in dags.values():
        again = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))
        assert sorted(again.task_dict) == sorted(dag.task_dict)


def test_every_dag_runs_on_demand_one_run_at_a_time(dags: dict[str, DAG]) -> None:
    for dag in dags.values():
        assert (dag.schedule, dag.catchup, dag.max_active_runs) == (None, False, 1)


@pytest.mark.parametrize("asked", ["0 3 * * *", "@daily", ""])
def test_only_verify_can_run_by_itself_and_only_when_the_operator_says_so(
    monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    monkeypatch.setenv("MEDFERRY_VERIFY_SCHEDULE", asked)
    found = parse()
    assert not found.import_errors
    assert {name: dag.schedule for name, dag in found.dags.items() if dag.schedule} == (
        {"verify": asked} if asked else {}
    )
    assert not found.dags["verify"].catchup


@pytest.mark.parametrize(("asked", "given"), [("", "0 3 * * *"), ("off", None), ("@daily", "@daily")])
def test_where_a_wave_is_kept_in_step_it_is_verified_by_night(
    monkeypatch: pytest.MonkeyPatch, asked: str, given: str | None
) -> None:
    monkeypatch.setenv("MEDFERRY_VERIFY_SCHEDULE", asked)
    migration = load_migration(tiny_platform.MIGRATION)
    [first, *others] = migration.plan.waves
    sync = Sync.model_validate({"schedule": "*/5 * * * *", "since": "2026-01-01"})
    waves = [first.model_copy(update={"sync": sync}), *others]
    plan = migration.plan.model_copy(update={"waves": waves})
    assert verify_schedule(plan) == given


def test_tags_are_of_the_closed_set(dags: dict[str, DAG]) -> None:
    for dag in dags.values():
        assert dag.tags and set(dag.tags) <= TAGS


@pytest.mark.parametrize("part", ["It changes", "Do not trigger it", "Example conf", "When it is red", "Pool"])
def test_every_page_tells_the_operator_what_to_know(dags: dict[str, DAG], part: str) -> None:
    for dag in dags.values():
        assert dag.doc_md and part in dag.doc_md, f"{dag.dag_id} does not say: {part}"


def test_every_task_has_an_owner_retries_and_a_policy_by_type(dags: dict[str, DAG]) -> None:
    for task in (task for dag in dags.values() for task in dag.tasks):
        assert task.owner == "data-migration"
        assert task.retries >= 3
        assert isinstance(task.retry_policy, ExceptionRetryPolicy)


def test_every_task_says_what_it_does(dags: dict[str, DAG]) -> None:
    for task in (task for dag in dags.values() for task in dag.tasks):
        assert task.doc_md, f"{task.task_id} has no docstring"


def test_tasks_that_talk_to_medplum_share_its_pool(dags: dict[str, DAG]) -> None:
    for task in (task for dag in dags.values() for task in dag.tasks):
        talks = task.task_id in ("prepare", "verify") or task.task_id.endswith(".load")
        assert (task.pool == POOL) is talks, task.task_id


def test_parsing_touches_no_system_and_no_airflow_database(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a DAG file must not do this while it is parsed")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(sqlalchemy, "create_engine", refuse)
    for reader in (Connection, Variable):
        monkeypatch.setattr(reader, "get", refuse)
    again = parse()
    assert again.import_errors == {}
    assert again.dags


def test_dag_files_are_tables_of_contents() -> None:
    for path in (ROOT / "dags").glob("*.py"):
        code = path.read_text(encoding="utf-8").rpartition('"""')[2]
        assert len(code.splitlines()) <= 25, f"{path.name} does more than name the DAGs"


def test_the_core_does_not_know_airflow() -> None:
    for path in (ROOT / "include" / "medferry").rglob("*.py"):
        assert "airflow" not in _imports(path), path


def _imports(path: Path) -> set[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    words = [line.split() for line in lines if line.lstrip().startswith(("import ", "from "))]
    return {parts[1].partition(".")[0] for parts in words if len(parts) > 1}
