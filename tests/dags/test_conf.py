"""A conf with an unknown name is refused by the first task of every DAG, and by every later one."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.definitions.mappedoperator import MappedOperator
from airflow.sdk.definitions.param import process_params
from airflow.serialization.serialized_objects import DagSerialization

from medferry.errors import OptionError, SettingsError
from medferry_airflow.conf import refuse_unknown_conf
from tests.dags.conftest import parse

VALID: dict[str, dict[str, Any]] = {
    "big_bang": {"units": ["harbor"], "dry_run": True},
    "replay": {"reasons": ["unmapped-code"]},
    "verify": {"sample_share": 0.5},
    "control": {"run": "r", "action": "abort"},
    "panic": {"person": "Ada", "reason": "Charts lack allergies."},
}
"""A conf that each DAG takes; a wave takes that of any run."""


def context(dag: DAG, conf: dict[str, Any] | None, overrides: bool = True) -> dict[str, Any]:
    """The context of a task as Airflow makes it in the task's process."""
    dag_copy: Any = SimpleNamespace(params=copy.deepcopy(dag.params))  # a conf changes the params themselves
    task: Any = SimpleNamespace(params={})
    params = process_params(dag_copy, task, conf if overrides else None, suppress_exception=not overrides)
    return {"dag": dag_copy, "dag_run": SimpleNamespace(conf=conf), "params": params}


def valid(dag: DAG) -> dict[str, Any]:
    return VALID.get(dag.dag_id, {"dry_run": True})


def check_of(task: Any) -> Any:
    return task.partial_kwargs.get("pre_execute") if isinstance(task, MappedOperator) else task._pre_execute_hook


def test_every_task_of_every_dag_begins_with_the_check(dags: dict[str, DAG]) -> None:
    assert dags
    for task in (task for dag in dags.values() for task in dag.tasks):
        assert check_of(task) is refuse_unknown_conf, task.task_id


def test_what_a_dag_offers_is_accepted_and_so_is_nothing(dags: dict[str, DAG]) -> None:
    for dag in dags.values():
        refuse_unknown_conf(context(dag, valid(dag)))
        if dag.dag_id not in ("control", "panic"):  # which need a run, or a person
            refuse_unknown_conf(context(dag, None))
            refuse_unknown_conf(context(dag, {}))


def test_an_unknown_name_is_refused_by_every_dag(dags: dict[str, DAG]) -> None:
    for dag in dags.values():
        with pytest.raises(OptionError, match="There is no option colour"):
            refuse_unknown_conf(context(dag, valid(dag) | {"colour": "red"}))


@pytest.mark.parametrize(
    ("dag_id", "conf", "near"),
    [
        ("big_bang", {"unit": ["harbor"]}, "units"),
        ("big_bang", {"dryrun": True}, "dry_run"),
        ("wave_pilot", {"dry-run": True}, "dry_run"),
        ("replay", {"reason": ["unmapped-code"]}, "reasons"),
        ("verify", {"samples": 0.5}, "sample_share"),
        ("control", {"run": "r", "acton": "abort"}, "action"),
    ],
)
def test_the_nearest_name_is_offered(dags: dict[str, DAG], dag_id: str, conf: dict[str, Any], near: str) -> None:
    with pytest.raises(OptionError, match=f"Did you mean {near}\\?"):
        refuse_unknown_conf(context(dags[dag_id], conf))


def test_a_name_of_another_dag_is_unknown(dags: dict[str, DAG]) -> None:
    """A wave has its units, and a replay its rows: neither is to seem to obey."""
    for dag_id, conf in (("wave_pilot", {"units": ["harbor"]}), ("replay", {"sample": 5}), ("verify", {"lanes": 1})):
        with pytest.raises(OptionError, match="There is no option"):
            refuse_unknown_conf(context(dags[dag_id], conf))


def test_an_airflow_that_passes_the_conf_over_is_refused(dags: dict[str, DAG]) -> None:
    with pytest.raises(SettingsError, match="DAG_RUN_CONF_OVERRIDES_PARAMS"):
        refuse_unknown_conf(context(dags["big_bang"], {"dry_run": True}, overrides=False))


def test_the_check_does_not_make_a_new_version_of_a_dag_at_every_parse() -> None:
    first, second = (
        {name: DagSerialization.serialize_dag(dag)["default_args"] for name, dag in parse().dags.items()}
        for _ in range(2)
    )
    assert first == second
    assert " at 0x" not in str(first)
