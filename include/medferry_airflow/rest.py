"""Drive an Airflow through its REST API, as a script or a test does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx

_POLL_SECONDS = 0.5
_TIMEOUT = 180.0
"""Seconds for one answer: on a machine that others use, Airflow's server may get no turn for a minute."""
_PARSED_SECONDS = 300.0
"""For a DAG file to be read: its turn comes every 30 seconds, behind all others."""
_FINISHED = {"success", "failed"}


class ApiError(RuntimeError):
    """Airflow's API did not do what was asked of it, or not in time."""


class AirflowApi:
    """Airflow's REST API, logged in. `check` is called while waiting and may raise when there is no more hope."""

    def __init__(
        self,
        url: str,
        user: str,
        password: str,
        check: Callable[[], None] = lambda: None,
        timeout: float = _TIMEOUT,
    ) -> None:
        self._http = httpx.Client(base_url=url, timeout=timeout)
        self._login = {"username": user, "password": password}
        self._check = check

    def close(self) -> None:
        self._http.close()

    def request(self, method: str, path: str, json: Any = None, **parameters: Any) -> Any:
        """The parsed answer of ``/api/v2/<path>``. Raises ApiError with Airflow's words for a 4xx or 5xx."""
        if "Authorization" not in self._http.headers:
            token = self._http.post("/auth/token", json=self._login)
            if token.status_code >= 400:
                raise ApiError(f"Airflow refused the login: HTTP {token.status_code}.")
            self._http.headers["Authorization"] = f"Bearer {token.json()['access_token']}"
        answer = self._http.request(method, f"/api/v2/{path}", json=json, params=parameters)
        if answer.status_code >= 400:
            raise ApiError(f"{method} {path}: HTTP {answer.status_code} {answer.text[:500]}")
        return answer.json() if answer.content else None

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None, timeout: float = _PARSED_SECONDS) -> str:
        """Start a run of a DAG, when it has been parsed; returns the id of the DAG run."""
        self.wait_for_dag(dag_id, timeout)
        run = self.request("POST", f"dags/{dag_id}/dagRuns", {"logical_date": None, "conf": conf or {}})
        return str(run["dag_run_id"])

    def wait_for_dag(self, dag_id: str, timeout: float = _PARSED_SECONDS) -> None:
        """Until it has been parsed. Raises ApiError after `timeout` seconds, or where a DAG file has an error."""
        self.until(lambda: self._known(dag_id), timeout, f"the DAG {dag_id} was not parsed")

    def wait(self, dag_id: str, run_id: str, timeout: float = 600) -> str:
        """The final state of a DAG run: "success" or "failed". Raises ApiError after `timeout` seconds."""
        self.until(lambda: self.state(dag_id, run_id) in _FINISHED, timeout, f"{dag_id} {run_id} did not end")
        return self.state(dag_id, run_id)

    def state(self, dag_id: str, run_id: str) -> str:
        return str(self.request("GET", f"dags/{dag_id}/dagRuns/{run_id}")["state"])

    def task_states(self, dag_id: str, run_id: str) -> dict[tuple[str, int], str | None]:
        """(task id, map index or -1) → state, of a DAG run's task instances."""
        states: dict[tuple[str, int], str | None] = {}
        path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        while True:
            page = self.request("GET", path, limit=100, offset=len(states))
            states |= {(one["task_id"], one["map_index"]): one["state"] for one in page["task_instances"]}
            if not page["task_instances"] or len(states) >= page["total_entries"]:
                return states

    def until(self, done: Callable[[], bool], timeout: float, problem: str) -> None:
        """Poll until `done`. Raises ApiError naming the `problem` after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not done():
            self._check()
            if time.monotonic() > deadline:
                raise ApiError(f"After {timeout:.0f} s {problem}.")
            time.sleep(_POLL_SECONDS)

    def _known(self, dag_id: str) -> bool:
        errors = self.request("GET", "importErrors")["import_errors"]
        if errors:
            raise ApiError(f"{errors[0]['filename']} cannot be imported:\n{errors[0]['stack_trace']}")
        return any(dag["dag_id"] == dag_id for dag in self.request("GET", "dags", limit=100)["dags"])
