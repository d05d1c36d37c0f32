"""Medferry in Airflow: pages and routing in the API server, the pool, the last words of a red task's log.

Light: every process imports this file.
"""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from medferry_airflow import last_words, pool


class MedferryPlugin(AirflowPlugin):
    """`/medferry/runs` in the navigation and beside each DAG run, `GET /medferry/routing`."""

    name = "medferry"
    listeners: list[Any] = [pool, last_words]  # noqa: RUF012 -- as the class of Airflow has it

    @property
    def external_views(self) -> list[dict[str, Any]]:
        """The pages as the UI shows them: all runs, and that of a DAG run beside it."""
        from medferry_airflow.addresses import OF_A_RUN, prefix

        every = {"name": "Medferry", "url_route": "medferry", "destination": "nav", "href": f"{prefix()}/medferry/runs"}
        address = f"{prefix()}/medferry/dags/{{DAG_ID}}/runs/{{RUN_ID}}"
        return [every, {"name": "Medferry", "url_route": OF_A_RUN, "destination": "dag_run", "href": address}]

    @property
    def fastapi_apps(self) -> list[dict[str, Any]]:
        """Evaluated in the API server alone."""
        from medferry_airflow.web import app

        return [{"app": app, "url_prefix": "/medferry", "name": "Medferry"}]
