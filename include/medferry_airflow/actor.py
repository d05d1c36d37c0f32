"""Who acts in a task: the user of Airflow who has triggered its DAG run, for the manifest's chain of acts."""

from __future__ import annotations

from airflow.sdk import get_current_context

from medferry.manifest.audit import os_user


def airflow_actor() -> str:
    """ "airflow:<user>", or how the run came about where nobody has triggered it ("airflow:scheduled").

    Outside of a task, who runs the process.
    """
    try:
        run = get_current_context()["dag_run"]
    except (RuntimeError, KeyError):
        return os_user()
    user = getattr(run, "triggering_user_name", None)
    return f"airflow:{user or getattr(run.run_type, 'value', run.run_type)}"
