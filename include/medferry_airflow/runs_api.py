"""The pages of the runs, for whoever may read the runs of all DAGs in this Airflow, or those of the DAG in the address.

Everything is read, nothing is changed. The report is made from the manifest when it is asked for, so it is the same
from every machine, and it is shown in a sandbox: it holds what others have written.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

import sqlalchemy as sa
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag
from fastapi import APIRouter, Depends, Request, Response, status
from fastapi.responses import HTMLResponse

from medferry.errors import MedferryError
from medferry.manifest import runs, turns
from medferry.manifest.database import open_manifest
from medferry.report.overview import detail_of, summaries
from medferry.report.pages import message_page, run_page, runs_page
from medferry.report.reconciliation import reconcile
from medferry.report.write import render_html
from medferry.runtime.settings import settings_from_environment
from medferry.runtime.several import variables_of
from medferry_airflow.definition import NotServed, Served, served_migrations
from medferry_airflow.of_address import OfAddress, of_address, root_of
from medferry_airflow.pool import require_pool
from medferry_airflow.tasks.environment import require_one_manifest

LIMIT = 50

_PAGE = "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; frame-ancestors 'self'; base-uri 'none'"
_REPORT = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"

EVERY_DAG = "~"
"""Named to Airflow, or it would ask for the DAG in the query, which anybody writes, or be content with any one DAG."""

of_all = APIRouter(dependencies=[Depends(requires_access_dag("GET", DagAccessEntity.RUN, EVERY_DAG))])
of_one = APIRouter(dependencies=[Depends(requires_access_dag("GET", DagAccessEntity.RUN))])
"""The DAG is that of the address."""


@of_all.get("/runs")
def all_runs(request: Request, served: OfAddress, cuts: bool = False) -> Response:
    """The newest runs; `cuts`: those of the synchronisation too."""
    plan, manifest = served.plan, _manifest(served)
    with manifest.begin() as connection:
        found = summaries(connection, plan.name, LIMIT, cuts)
        waiting = turns.waiting_runs(connection, plan.name)
    return _html(runs_page(plan.title, found, root_of(request, served), LIMIT, cuts, waiting))


@of_all.get("/runs/{run_id:path}")
def one_run(request: Request, served: OfAddress, run_id: str) -> Response:
    """A run by the manifest's id."""
    root = root_of(request, served)
    return _run(served, root, _of_this_migration(served, run_id), f"{root}/report/{_quoted(run_id)}")


@of_all.get("/report/{run_id:path}")
def report(served: OfAddress, run_id: str) -> Response:
    """The reconciliation report of a run."""
    return _report(served, _of_this_migration(served, run_id))


@of_one.get("/dags/{dag_id}/runs/{run_id:path}")
def run_of_dag(request: Request, served: OfAddress, dag_id: str, run_id: str) -> Response:
    """The run that a DAG run has made."""
    try:
        found = _made_by(served, dag_id, run_id)
    except MedferryError:
        require_pool()  # without it nothing ever begins
        raise
    address = f"{request.scope.get('root_path', '')}/dags/{_quoted(dag_id)}/report/{_quoted(run_id)}"
    return _run(served, root_of(request, served), found[0], address, [run.id for run in found[1:]])


@of_one.get("/dags/{dag_id}/report/{run_id:path}")
def report_of_dag(served: OfAddress, dag_id: str, run_id: str) -> Response:
    """The reconciliation report of the run that a DAG run has made."""
    return _report(served, _made_by(served, dag_id, run_id)[0])


def tell(request: Request, error: Exception) -> Response:
    """An error of Medferry as a page with its remedy.

    404 for a run that is not known, 300 where it is to be said of which migration it is, else 503.
    """
    assert isinstance(error, MedferryError)
    code = status.HTTP_404_NOT_FOUND if isinstance(error, runs.UnknownRun) else status.HTTP_503_SERVICE_UNAVAILABLE
    try:
        places = {"All runs": f"{root_of(request, of_address(request))}/runs"}
    except NotServed:
        places = {one.name: f"{root_of(request, one)}/runs" for one in served_migrations()}
        code = status.HTTP_300_MULTIPLE_CHOICES
    return _html(message_page(error.problem, error.remedy, places), code)


def _run(served: Served, root: str, run: runs.RunRow, report_address: str, others: Sequence[str] = ()) -> Response:
    with _manifest(served).begin() as connection:
        detail = detail_of(connection, run)
    return _html(run_page(detail, root, report_address, others))


def _report(served: Served, run: runs.RunRow) -> Response:
    migration = served.present_migration
    with _manifest(served).begin() as connection:
        content = reconcile(connection, migration, run.id)
    return _html(render_html(content), policy=_REPORT)


def _of_this_migration(served: Served, run_id: str) -> runs.RunRow:
    name = served.plan.name
    with _manifest(served).begin() as connection:
        found = runs.find_run(connection, run_id)
    if found is None or found.migration != name:
        raise runs.UnknownRun(f"The migration {name} has no run {run_id}.", "Choose one of all runs.")
    return found


def _made_by(served: Served, dag_id: str, run_id: str) -> list[runs.RunRow]:
    """The newest first. Raises UnknownRun."""
    name = served.plan.name
    with _manifest(served).begin() as connection:
        found = runs.runs_of_dag_run(connection, name, f"{dag_id}.{run_id}")
    if not found:
        raise runs.UnknownRun(
            "No load or replay belongs to this DAG run.",
            "It has not begun yet, or was refused: see the logs of its tasks. A verification, a cutover, a rollback, a "
            "rehearsal, a retirement and a panic never have one: what cutovers did is in the report of the wave's "
            "newest run, and the cuts of a synchronisation are among all runs.",
        )
    return found


def _manifest(served: Served) -> sa.Engine:
    """Raises SettingsError where the API server does not know the manifest, or there is none yet, and KeyMissing."""
    variables = variables_of(served.plan.name)
    require_one_manifest(variables.get("MEDFERRY_MANIFEST_URL", ""))
    settings = settings_from_environment(variables)
    settings.show_keys()
    return open_manifest(settings.manifest_url, settings.pepper)


def _quoted(part: str) -> str:
    return quote(part, safe="")


def _html(text: str, code: int = status.HTTP_200_OK, policy: str = _PAGE) -> Response:
    headers = {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return HTMLResponse(text, code, headers)
