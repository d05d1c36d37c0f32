"""Acts of a task are Airflow's user's."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from medferry.manifest.audit import os_user
from medferry_airflow import actor


@pytest.mark.parametrize(
    ("run", "named"),
    [
        (SimpleNamespace(triggering_user_name="a.operator", run_type="manual"), "airflow:a.operator"),
        (SimpleNamespace(triggering_user_name=None, run_type=SimpleNamespace(value="scheduled")), "airflow:scheduled"),
    ],
)
def test_an_act_in_a_task_is_of_who_has_triggered_it(
    monkeypatch: pytest.MonkeyPatch, run: SimpleNamespace, named: str
) -> None:
    monkeypatch.setattr(actor, "get_current_context", lambda: {"dag_run": run})
    assert actor.airflow_actor() == named


def test_outside_of_a_task_it_is_who_runs_the_process() -> None:
    assert actor.airflow_actor() == os_user()
