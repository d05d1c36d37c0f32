"""Whether a DAG can flip what was not verified, or not approved: what must have succeeded when a task begins."""

from __future__ import annotations

from functools import cache
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, TriggerRule
from airflow.sdk.definitions.mappedoperator import MappedOperator

from medferry.cutover.stages import Stage
from medferry_airflow.tasks import rehearse


def flips(dag: DAG) -> list[str]:
    """The tasks that let users write elsewhere."""
    return [task.task_id for task in dag.tasks if task.task_id.rpartition(".")[2] == Stage.FLIP]


def succeeded_before(dag: DAG, task_id: str) -> frozenset[str]:
    """The tasks that have succeeded, each of them, whenever the task runs: nothing that failed or was skipped counts.

    A task promises this of the tasks before it by the rule `all_success` alone.
    """

    @cache
    def before(of: str) -> frozenset[str]:
        task = dag.get_task(of)
        if TriggerRule(task.trigger_rule) is not TriggerRule.ALL_SUCCESS or task.is_teardown:
            return frozenset()
        direct = {each for each in task.upstream_task_ids if not dag.get_task(each).is_teardown}
        return frozenset(direct).union(*(before(each) for each in direct))

    return before(task_id)


def faults(dag: DAG) -> list[str]:
    """What is wrong with the flips of a DAG, in words."""
    found = []
    for flip in flips(dag):
        sure = succeeded_before(dag, flip)
        tasks = [dag.get_task(task_id) for task_id in sure]
        approvals = [task for task in tasks if isinstance(task, ApprovalOperator)]
        if not any(_is(task, Stage.VERIFY) for task in tasks):
            found.append(f"{flip} may come without verification")
        if not approvals:
            found.append(f"{flip} may come without approval")
        found += [f"{flip}: {fault}" for task in approvals for fault in _open_doors(task)]
        frozen = [task.task_id for task in tasks if _is(task, Stage.FREEZE)]
        if not frozen:
            found.append(f"{flip} may come without a freeze")
        for freeze in frozen:
            if not approvals or not {task.task_id for task in approvals} <= succeeded_before(dag, freeze):
                found.append(f"{freeze} may come before the approval")
    return found


def ways_out(dag: DAG) -> list[str]:
    """By which a DAG that only rehearses could come to the acts of a real cutover, in words."""
    found = [f"{task_id} is a flip" for task_id in flips(dag)]
    for task in dag.tasks:
        module = getattr(_function(task), "__module__", "")
        if module != rehearse.__name__:
            found.append(f"{task.task_id} is no task of a rehearsal")
    return found


def unasked(dag: DAG, task_id: str) -> list[str]:
    """By which a task could run that nobody, or not the right person, has approved, in words."""
    tasks = [dag.get_task(each) for each in succeeded_before(dag, task_id)]
    approvals = [task for task in tasks if isinstance(task, ApprovalOperator)]
    if not approvals:
        return [f"{task_id} may come without approval"]
    looked = [task for task in approvals if not {"look"} <= succeeded_before(dag, task.task_id)]
    return [f"{task.task_id} is asked before anybody has looked" for task in looked] + [
        fault for task in approvals for fault in _open_doors(task)
    ]


def _function(task: Any) -> Any:
    """What a task of Python runs; None of another."""
    given = task.partial_kwargs if isinstance(task, MappedOperator) else {}
    return given.get("python_callable") or getattr(task, "python_callable", None)


def _is(task: Any, stage: Stage) -> bool:
    return bool(task.task_id.rpartition(".")[2] == stage)


def _open_doors(approval: ApprovalOperator) -> list[str]:
    """By which somebody else, or nobody, could have approved."""
    found = []
    if not approval.assigned_users:
        found.append("everybody may approve")
    if not approval.fail_on_reject:
        found.append("a rejection does not fail")
    if approval.defaults and approval.APPROVE in approval.defaults:
        found.append("no answer means yes")
    if approval.response_timeout is None:
        found.append("it is asked for ever")
    if not approval.body:
        found.append("it is asked without evidence")
    return found
