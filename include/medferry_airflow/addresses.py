"""Where Medferry's pages are in Airflow's UI. Light: the plugin and every task import this."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlsplit

from airflow.sdk import BaseOperatorLink
from airflow.sdk.configuration import conf

OF_A_RUN = "medferry_run"
"""The last part of the address of the page beside a DAG run."""


def prefix() -> str:
    """The path below which Airflow's UI is, empty at the root of its host; without the host, as it may have several."""
    return urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")


class RunLink(BaseOperatorLink):
    """A button beside a task that leads to the page of its run."""

    name = "Medferry"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:  # noqa: ARG002 -- as Airflow calls it
        """Called when a task of the run has ended, in its process."""
        parts = ("dags", ti_key.dag_id, "runs", ti_key.run_id, "plugin", OF_A_RUN)
        return "/".join([prefix(), *(quote(part, safe="") for part in parts)])
