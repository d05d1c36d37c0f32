"""What OpenLineage is told: by which names, from which tasks, and what a fault in it does to a task: nothing."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from airflow.providers import openlineage
from airflow.providers.openlineage.extractors.base import OL_METHOD_NAME_COMPLETE
from airflow.providers.openlineage.extractors.manager import ExtractorManager
from airflow.providers.openlineage.utils.emission_policy import resolve_task_emission_policy
from airflow.sdk import DAG
from openlineage.client.naming.dataset import MySQL, Postgres

from medferry.definition.capture import tables_called
from medferry.manifest.checks import CheckResult, CheckStatus
from medferry.manifest.cutovers import Direction
from medferry.runtime.environment import Environment
from medferry.workflows.sync import Way
from medferry_airflow import lineage, lineage_datasets
from medferry_airflow.cutover import draw
from medferry_airflow.lineage_names import Name, resources_named, table_named
from tests.dags.test_flips import PEOPLE

PASSWORD = "pa55"
TRANSPORT = "AIRFLOW__OPENLINEAGE__TRANSPORT"


@pytest.mark.parametrize(
    ("url", "table", "name"),
    [
        ("postgresql+psycopg://reader:{}@legacy:5433/clinic", ["visits"], "postgres://legacy:5433 clinic.app.visits"),
        ("postgresql+psycopg://reader:{}@legacy/clinic", ["lab", "r"], "postgres://legacy:5432 clinic.lab.r"),
        ("mysql+pymysql://reader:{}@legacy/clinic", ["visits"], "mysql://legacy:3306 clinic.visits"),
        ("mariadb+pymysql://reader:{}@legacy/clinic", ["lab", "r"], "mysql://legacy:3306 lab.r"),
        ("mssql+pyodbc://reader:{}@legacy/clinic", ["old", "app", "r"], "mssql://legacy:1433 old.app.r"),
        ("mssql+pyodbc://reader:{}@legacy/clinic", ["r"], "mssql://legacy:1433 clinic.app.r"),
        ("sqlite:////home/dr.okafor/legacy.db", ["r"], "sqlite r"),
    ],
)
def test_a_table_is_named_as_openlineage_names_it(url: str, table: list[str], name: str) -> None:
    found = table_named(sa.make_url(url.format(PASSWORD)), "app", table)
    assert f"{found.namespace} {found.name}" == name


def test_the_names_are_those_that_openlineages_own_client_makes() -> None:
    postgres, mysql = Postgres("legacy", "5432", "clinic", "app", "visits"), MySQL("legacy", "3306", "clinic", "visits")
    for url, theirs in (("postgresql+psycopg://legacy/clinic", postgres), ("mysql+pymysql://legacy/clinic", mysql)):
        ours = table_named(sa.make_url(url), "app", ["visits"])
        assert ours == Name(theirs.get_namespace(), theirs.get_name())


@pytest.mark.parametrize("base", ["https://fhir.example/", f"https://id:{PASSWORD}@fhir.example"])
def test_a_resource_type_is_named_by_medplums_address_alone(base: str) -> None:
    assert resources_named(base, "Patient") == Name("https://fhir.example", "Patient")


@pytest.mark.parametrize(
    ("dialect", "sql", "tables"),
    [
        ("postgres", 'SELECT * FROM Visits v JOIN "Lab".r ON true', {("visits",), ("Lab", "r")}),
        ("mysql", "WITH x AS (SELECT 1 FROM Visits) SELECT * FROM x", {("Visits",)}),
        ("tsql", "SELECT * FROM [Old].[app].[R]", {("Old", "app", "R")}),
    ],
)
def test_tables_keep_the_names_that_the_engine_has(dialect: str, sql: str, tables: set[tuple[str, ...]]) -> None:
    assert tables_called(sql, dialect, dialect == "postgres") == tables


def task_at_work() -> Any:
    return SimpleNamespace(task=SimpleNamespace(task_id="load", task_type="_PythonDecoratedOperator"))


def test_without_a_transport_nothing_is_looked_up(monkeypatch: pytest.MonkeyPatch, tiny: Environment) -> None:
    monkeypatch.delenv(TRANSPORT, raising=False)
    task = task_at_work()
    monkeypatch.setattr(lineage_datasets, "of_sync", lambda *_: pytest.fail("it was looked up"))
    lineage.tell_sync(task, tiny, Way.FORTH, {})
    assert not hasattr(task.task, OL_METHOD_NAME_COMPLETE)


def test_what_cannot_be_told_fails_no_task(
    monkeypatch: pytest.MonkeyPatch, tiny: Environment, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(TRANSPORT, '{"type": "console"}')

    def broken(*_: object) -> None:
        raise ValueError("Lindqvist")

    monkeypatch.setattr(lineage_datasets, "of_sync", broken)
    task = task_at_work()
    lineage.tell_sync(task, tiny, Way.FORTH, {})
    assert not hasattr(task.task, OL_METHOD_NAME_COMPLETE)
    assert "ValueError" in caplog.text and "Lindqvist" not in caplog.text


def test_an_airflow_without_the_provider_fails_no_task(
    monkeypatch: pytest.MonkeyPatch, tiny: Environment, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr(openlineage, "conf")
    monkeypatch.setitem(sys.modules, "airflow.providers.openlineage.conf", None)
    lineage.tell_sync(task_at_work(), tiny, Way.FORTH, {})
    assert "OpenLineage is not told" in caplog.text


def test_the_provider_finds_what_was_told(monkeypatch: pytest.MonkeyPatch, tiny: Environment) -> None:
    monkeypatch.setenv(TRANSPORT, '{"type": "console"}')
    task = task_at_work()
    lineage.tell_sync(task, tiny, Way.FORTH, {"successful": 2})
    extractor = ExtractorManager()._get_extractor(task.task)
    assert extractor is not None
    found = extractor.extract_on_complete(task)
    assert found is not None and found.run_facets["medferry"].counts == {"successful": 2}
    assert {one.name for one in found.inputs} == set(tiny.migration.entities)


def test_a_check_is_an_assertion_about_what_its_entity_becomes(tiny: Environment) -> None:
    results = [
        CheckResult("content", "patient", CheckStatus.DIFFERENT, 9, different=2, examples=["4711"], note="Lindqvist"),
        CheckResult("sent", "all", CheckStatus.EQUAL, 3),
        CheckResult("born", "patient", CheckStatus.NOTHING, 0),
    ]
    lineage_of = lineage_datasets.of_verification(tiny, results)
    [patients] = [one for one in lineage_of.inputs if one.name == "Patient"]
    assertions = {one.name: one for one in patients.inputFacets["dataQualityAssertions"].assertions}
    assert {name: one.success for name, one in assertions.items()} == {"patient: content": False, "all: sent": True}
    assert assertions["patient: content"].actual == "2 different, 0 unchecked, of 9"
    assert "4711" not in str(lineage_of) and "Lindqvist" not in str(lineage_of)


@pytest.mark.parametrize("direction", [Direction.FORTH, Direction.BACK])
def test_nothing_within_a_freeze_waits_for_a_lineage_server(direction: Direction) -> None:
    with DAG("cutover_pilot", schedule=None) as dag:
        draw(direction, "pilot", "May it?", PEOPLE, two=False)
    told = {one.task_id: resolve_task_emission_policy(one, dag.dag_id, one.task_id).emit for one in dag.tasks}
    assert {name for name, emits in told.items() if emits} == {"readiness.look", "approval.approve", "approval.arm"}
    assert not told["freeze.freeze"] and not told["thaw"]
