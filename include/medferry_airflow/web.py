"""What Medferry answers in Airflow's API server: the routing, and the pages of the runs.

Plugins' addresses are open to everybody unless they say otherwise: the dependency stands at the app, for all of them,
and the pages that FastAPI makes by itself are off.
"""

from __future__ import annotations

from airflow.api_fastapi.auth.managers.models.resource_details import AccessView
from airflow.api_fastapi.core_api.security import requires_access_view
from fastapi import Depends, FastAPI

from medferry.errors import MedferryError
from medferry_airflow import routing_api, runs_api
from medferry_airflow.of_address import BELOW

app = FastAPI(
    title="Medferry",
    dependencies=[Depends(requires_access_view(AccessView.WEBSITE))],
    docs_url=None,
    redoc_url=None,
    openapi_url=None,
)
for _below in ("", BELOW):
    app.include_router(routing_api.router, prefix=_below)
    app.include_router(runs_api.of_all, prefix=_below)
app.include_router(runs_api.of_one)
app.add_exception_handler(MedferryError, runs_api.tell)
