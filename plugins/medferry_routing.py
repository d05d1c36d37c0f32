"""The routing over HTTP, inside Airflow's API server. Light: Airflow imports this file in every process."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin


class MedferryRoutingPlugin(AirflowPlugin):
    """`GET /medferry/routing`."""

    name = "medferry_routing"

    @property
    def fastapi_apps(self) -> list[dict[str, Any]]:
        """Evaluated in the API server alone."""
        from medferry_airflow.routing_api import app

        return [{"app": app, "url_prefix": "/medferry", "name": "Medferry's routing"}]
