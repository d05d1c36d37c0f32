"""The mistakes that only Airflow lets one make, by the numbers of ``tests/cli/test_mistakes.py``.

22, a conf with a mistyped name, is in ``test_conf.py``; 26 in a real Airflow is in ``tests/airflow/test_pool.py``.
"""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from airflow._shared.listeners.spec import lifecycle
from airflow.listeners.listener import ListenerManager
from airflow.models.pool import Pool
from airflow.sdk import DAG

from medferry.definition.migration import load_migration
from medferry.errors import DefinitionError, SettingsError
from medferry.manifest.database import create_manifest, open_manifest
from medferry.manifest.runs import UnknownRun, get_run
from medferry.runtime.continuing import OtherMigration, check_continues
from medferry_airflow import pool
from medferry_airflow.definition import current_migration
from medferry_airflow.tasks import environment as of_tasks
from tests.dags.conftest import ROOT, parse
from tests.dags.test_runs_pages import run_of
from tests.tiny_platform import MIGRATION

# -- 26: the pool does not exist: tasks wait for ever ----------------------------------------------


class _InAirflow:
    """Of the class that Airflow's own processes call listeners with."""

    __module__ = "airflow.jobs.job"


def test_airflows_own_processes_make_the_pool_and_tasks_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr(pool, "make_pool", lambda: made.append(pool.POOL))
    monkeypatch.syspath_prepend(ROOT / "plugins")
    from medferry_pages import MedferryPlugin  # type: ignore[import-not-found]

    manager = ListenerManager()
    manager.add_hookspecs(lifecycle)
    for listener in MedferryPlugin.listeners:
        manager.add_listener(listener)
    hook = manager.hook
    hook.on_starting(component=object())
    assert made == []
    hook.on_starting(component=_InAirflow())
    assert made == [pool.POOL]


def test_a_pool_that_is_gone_is_told_with_the_command_that_makes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pool, "get_pool", lambda _: None)
    with pytest.raises(
        SettingsError, match=r"no pool medplum: .* wait for ever, and nothing is written.*`airflow pools"
    ):
        pool.require_pool()


def test_no_dag_names_another_pool(dags: dict[str, DAG]) -> None:
    assert {task.pool for dag in dags.values() for task in dag.tasks} == {pool.POOL, "default_pool"}


# -- 27: variables that are left out, or mean something else in each process ------------------------


@pytest.mark.parametrize(
    ("url", "problem"), [("", "is not set"), ("sqlite:///build/manifest.db", "is a relative path")]
)
def test_a_manifest_that_each_process_would_find_elsewhere_is_refused(url: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=f"MEDFERRY_MANIFEST_URL {problem}: .* second ledger"):
        of_tasks.require_one_manifest(url)


@pytest.mark.parametrize("url", ["sqlite:////var/lib/manifest.db", "postgresql://manifest@db/manifest"])
def test_one_that_all_find_is_taken(url: str) -> None:
    of_tasks.require_one_manifest(url)


@pytest.mark.parametrize(("url", "problem"), [("", "is not set"), ("build/staging", "is a relative path")])
def test_staging_that_each_process_would_find_elsewhere_is_refused(url: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=f"MEDFERRY_STAGING_URL {problem}: .*What to do: .*s3://"):
        of_tasks.require_one_staging(url)


@pytest.mark.parametrize("url", ["/var/lib/staging", "s3://bucket/staging", "file:///var/lib/staging"])
def test_staging_that_all_find_is_taken(url: str) -> None:
    of_tasks.require_one_staging(url)


def test_no_task_works_without_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(of_tasks, "_opened", of_tasks._opened.__wrapped__)  # no other test has opened it
    monkeypatch.delenv("MEDFERRY_STAGING_URL", raising=False)
    monkeypatch.setenv("MEDFERRY_MANIFEST_URL", "sqlite:////var/lib/manifest.db")
    with pytest.raises(SettingsError, match="MEDFERRY_STAGING_URL is not set"):
        of_tasks.environment()
    monkeypatch.delenv("MEDFERRY_MANIFEST_URL")
    with pytest.raises(SettingsError, match="MEDFERRY_MANIFEST_URL is not set"):
        of_tasks.environment()


def test_a_migration_that_there_is_not_is_told_on_every_dags_page(monkeypatch: pytest.MonkeyPatch) -> None:
    bag = parse("clinik")
    assert not bag.import_errors and bag.dags
    for dag in bag.dags.values():
        assert "clinik" in str(dag.doc_md) and "MEDFERRY_MIGRATION" in str(dag.doc_md), dag.dag_id
    monkeypatch.setenv("MEDFERRY_MIGRATION", "clinik")
    with pytest.raises(DefinitionError, match="Name one of clinics"):
        current_migration()


def test_workers_of_two_environments_in_one_airflow_are_told_apart(tmp_path: Any) -> None:
    migration, url = load_migration(MIGRATION), f"sqlite:///{tmp_path}/manifest.db"
    create_manifest(url)
    with open_manifest(url).begin() as connection:
        told_apart(connection, migration)


def told_apart(connection: sa.Connection, migration: Any) -> None:
    with pytest.raises(UnknownRun, match=r"no run other's.*both need one MEDFERRY_MANIFEST_URL"):
        get_run(connection, "other's")
    run = run_of("r", "2026-11-22T20:00:00.000Z", migration="other")
    with pytest.raises(
        OtherMigration, match=r"of the migration other, not of tiny.*all of Airflow's processes need alike"
    ):
        check_continues(connection, migration, run)
