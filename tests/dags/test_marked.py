"""A task that Airflow has ended before it began to work takes no lease and does nothing."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from airflow.sdk import TaskInstanceState

from medferry.manifest.kinds import RunKind
from medferry.manifest.leases import alive
from medferry.runtime.environment import Environment
from medferry.runtime.options import RunOptions
from medferry.stages.prepare import prepare_run, scope_of
from medferry.workflows.finish import finish_run
from medferry_airflow.tasks import migrate
from medferry_airflow.tasks.migrate import TaskEnded

RUN = "big_bang.marked"


@dataclass(frozen=True)
class TaskInstance:
    """What a task asks of its own instance."""

    task_id: str
    state: TaskInstanceState
    dag_id: str = "big_bang"
    run_id: str = "marked"
    map_index: int = 0

    def get_task_states(
        self, dag_id: str, map_index: int, task_ids: list[str], run_ids: list[str]
    ) -> dict[str, dict[str, TaskInstanceState]]:
        assert (dag_id, map_index, task_ids, run_ids) == (self.dag_id, self.map_index, [self.task_id], [self.run_id])
        return {self.run_id: {f"{self.task_id}_{self.map_index}": self.state}}


@pytest.fixture
def slice_id(tiny: Environment, monkeypatch: pytest.MonkeyPatch) -> str:
    """The first slice of a run that was marked as failed and concluded when one task had hardly begun."""
    monkeypatch.setattr(migrate, "environment", lambda: tiny)
    slices = prepare_run(tiny, RUN, RunKind.BIG_BANG, scope_of(tiny.migration, None, None), RunOptions())
    finish_run(tiny, RUN, failed=True)
    assert not holds_leases(tiny)
    return slices[0].id


def holds_leases(environment: Environment) -> bool:
    with environment.manifest.begin() as connection:
        return alive(connection, RUN)


@pytest.mark.parametrize("task_id", ["extract", "transform", "load"])
@pytest.mark.parametrize("state", [TaskInstanceState.FAILED, TaskInstanceState.SUCCESS])
def test_a_task_that_was_ended_before_it_began_takes_no_leases(
    tiny: Environment, slice_id: str, task_id: str, state: TaskInstanceState
) -> None:
    with pytest.raises(TaskEnded, match=f"Airflow has this task as {state}"):
        getattr(migrate, task_id).function(RUN, slice_id, TaskInstance(task_id, state))
    assert not holds_leases(tiny)


def test_a_task_that_was_cleared_goes_on(tiny: Environment, slice_id: str) -> None:
    assert migrate.extract.function(RUN, slice_id, TaskInstance("extract", TaskInstanceState.RUNNING)) > 0
    assert holds_leases(tiny)
