"""The edges that keep a migration safe, as a graph: they hold whatever the order of the lines in a file."""

from __future__ import annotations

from itertools import pairwise

from airflow.sdk import DAG, TriggerRule

from medferry.workflows.order import migrate
from medferry_airflow.tasks.migrate import incomplete


def upstream(dag: DAG, task_id: str) -> set[str]:
    """All tasks that come before a task, transitively."""
    return dag.get_task(task_id).get_flat_relative_ids(upstream=True)


def loads(dag: DAG) -> list[str]:
    return sorted(task.task_id for task in dag.tasks if task.task_id.endswith(".load"))


def test_there_is_a_load_for_each_level(migration_dags: list[DAG]) -> None:
    from medferry_airflow.definition import current_migration

    assert migration_dags
    for dag in migration_dags:
        assert len(loads(dag)) == len(current_migration().levels)


def test_nothing_is_loaded_before_everything_is_staged(migration_dags: list[DAG]) -> None:
    for dag in migration_dags:
        for task_id in loads(dag):
            assert {"prepare", "stage.extract", "stage.transform"} <= upstream(dag, task_id)


def test_a_level_is_loaded_after_all_levels_it_refers_to(migration_dags: list[DAG]) -> None:
    for dag in migration_dags:
        in_order = [f"load_level_{number}.load" for number in range(len(loads(dag)))]
        for number, task_id in enumerate(in_order):
            assert set(in_order[:number]) <= upstream(dag, task_id)
            assert not set(in_order[number:]) & upstream(dag, task_id)


def test_verify_comes_after_every_load_and_conclude_after_verify(migration_dags: list[DAG]) -> None:
    for dag in migration_dags:
        assert set(loads(dag)) <= upstream(dag, "verify")
        assert {"verify", *loads(dag)} <= upstream(dag, "conclude")


def test_the_verification_dag_concludes_after_verify(dags: dict[str, DAG]) -> None:
    assert upstream(dags["verify"], "conclude") == {"choose_run", "verify"}
    assert loads(dags["verify"]) == []


def test_conclude_is_the_only_task_that_decides_the_colour_and_runs_after_failures(migration_dags: list[DAG]) -> None:
    for dag in migration_dags:
        assert [task.task_id for task in dag.leaves] == ["conclude"]
        conclude = dag.get_task("conclude")
        assert conclude.is_teardown and conclude.on_failure_fail_dagrun
        assert dag.get_task("prepare").is_setup
        assert (
            "prepare" in conclude.upstream_task_ids
        )  # its setup: a cleared load takes the leases back and concludes again


def test_no_other_task_runs_after_a_failure(migration_dags: list[DAG]) -> None:
    for dag in migration_dags:
        rules = {task.task_id: TriggerRule(task.trigger_rule).value for task in dag.tasks if not task.is_teardown}
        assert set(rules.values()) == {"all_success", "none_failed"}
        passed_over = {task_id for task_id, rule in rules.items() if rule == "none_failed"}
        assert passed_over == {*loads(dag), "verify"}  # an empty level is skipped; what follows is not


def test_a_replay_looks_for_dead_letters_before_it_makes_a_run(dags: dict[str, DAG]) -> None:
    assert upstream(dags["replay"], "prepare") == {"find_dead_letters"}
    later = set(dags["replay"].task_ids) - {"find_dead_letters"}
    assert dags["replay"].get_task("find_dead_letters").get_flat_relative_ids(upstream=False) == later


GREEN = {"prepare": "success", "stage.extract_0": "success", "load_level_1.load": "skipped", "verify": "success"}


def test_a_run_is_complete_only_with_a_verification() -> None:
    assert incomplete(GREEN) == []
    assert incomplete(GREEN | {"verify": "skipped"}) == ["verify (skipped)"]
    assert incomplete({"prepare": "success"}) == ["verify (did not run)"]


def test_a_failed_task_anywhere_makes_a_run_incomplete() -> None:
    states = GREEN | {"load_level_0.load_3": "failed", "load_level_2.load": "upstream_failed"}
    assert incomplete(states) == ["load_level_0.load_3 (failed)", "load_level_2.load (upstream_failed)"]


def test_the_order_of_the_graph_is_that_of_the_command_line(migration_dags: list[DAG]) -> None:
    """Both carry out ``medferry.workflows.order``: what one act needs is upstream of it in every DAG."""
    acts: list[list[str]] = []

    class Listed:
        def stage(self) -> None:
            acts.append(["stage.extract", "stage.transform"])

        def load(self, _staged: None) -> None:
            acts.append(loads(dag))

        def verify(self, _loaded: None) -> None:
            acts.append(["verify"])

        def conclude(self, _verified: None) -> None:
            acts.append(["conclude"])

    for dag in migration_dags:
        acts.clear()
        migrate(Listed())
        for before, after in pairwise(acts):
            assert all(set(before) <= upstream(dag, task_id) for task_id in after)
