"""Airflow's note of a DAG run, which the grid shows: the verdict of the run that it has made.

A task's own interface has no note, and a listener would write into the scheduler's transaction, past every check of
rights. The REST API has one, for whoever may change the DAG run: an account of its own, which the connection
`medferry_airflow` names. Without that connection nothing is done.
"""

from __future__ import annotations

import logging
from contextlib import closing
from typing import Any
from urllib.parse import quote

from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowNotFoundException

from medferry.errors import SettingsError
from medferry_airflow.connections import base_url
from medferry_airflow.names import AIRFLOW
from medferry_airflow.rest import AirflowApi, ApiError

log = logging.getLogger(__name__)

OURS = "Medferry: "
"""How the line begins that is ours; whatever people have written around it stays."""

_SECONDS = 10.0
"""For an answer: nothing waits for a note."""


def note_run(run: str, word: str) -> None:
    """Note `word` at the DAG run that has made the manifest's `run`; what keeps it from being noted is told in the log.

    A run of the command line is of no DAG run: Airflow does not know it, and nothing is done.
    """
    account = _account()
    dag_id, dot, dag_run = run.partition(".")
    if account is None or not dot:
        return
    try:
        api = AirflowApi(base_url(account), account.login or "", account.password or "", timeout=_SECONDS)
        with closing(api):
            _note(api, dag_id, dag_run, word)
    except (ApiError, SettingsError) as error:
        log.warning("Airflow's note of the DAG run was not set. %s", error)
    except Exception as error:  # noqa: BLE001 -- whatever answers there, a note is no reason to fail
        log.warning("Airflow's note of the DAG run was not set (%s).", type(error).__name__)


def noted(before: str | None, word: str) -> str:
    """A note with our line as its first, in place of the one it had."""
    others = [line for line in (before or "").splitlines() if not line.startswith(OURS)]
    return "\n".join([f"{OURS}{word}", *others])


def _note(api: AirflowApi, dag_id: str, dag_run: str, word: str) -> None:
    path, before = _found(api, dag_id, dag_run)
    if (after := noted(before, word)) != before:
        api.request("PATCH", path, {"note": after}, update_mask="note")


def _found(api: AirflowApi, dag_id: str, dag_run: str) -> tuple[str, str | None]:
    """(path, note) of a DAG run. Where it is not known, a number behind its id is that of a run that began anew."""
    path = f"dags/{quote(dag_id, safe='')}/dagRuns/{quote(dag_run, safe='')}"
    first, dot, number = dag_run.rpartition(".")
    try:
        return path, api.request("GET", path)["note"]
    except ApiError:
        if not (dot and number.isdigit()):
            raise
    return _found(api, dag_id, first)


def _account() -> Any:
    try:
        return Connection.get(AIRFLOW)
    except AirflowNotFoundException:
        return None
