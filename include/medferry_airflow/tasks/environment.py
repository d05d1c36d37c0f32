"""What every task works with: the systems of its migration, where reports go."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from medferry.errors import SettingsError
from medferry.runtime.several import variables_of
from medferry_airflow.definition import Served, at_work

if TYPE_CHECKING:
    from medferry.runtime.environment import Environment

log = logging.getLogger(__name__)


def environment() -> Environment:
    """The systems of the migration of the task at work, opened when first needed. Raises SettingsError."""
    return _opened(at_work())


@cache
def _opened(served: Served) -> Environment:
    from medferry.manifest.audit import acted_by
    from medferry.runtime.environment import Environment
    from medferry_airflow.actor import airflow_actor
    from medferry_airflow.connections import settings_from_connections

    migration = served.migration
    variables = variables_of(migration.name)
    require_one_manifest(variables.get("MEDFERRY_MANIFEST_URL", ""))
    require_one_staging(variables.get("MEDFERRY_STAGING_URL", ""))
    actor = airflow_actor()
    acted_by(lambda: actor)  # asked now, since other threads of the task know no context
    return Environment(
        migration, settings_from_connections(migration.plan, migration.gate.probes if migration.gate else ())
    )


def require_one_manifest(url: str) -> None:
    """Raises SettingsError for a URL by which each process may find another manifest."""
    from medferry.manifest.database import MANIFEST
    from medferry.source.address import database_url

    parsed = database_url(url, MANIFEST) if url else None
    if parsed is None or (parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_absolute()):
        problem = "is not set" if parsed is None else "is a relative path"
        raise SettingsError(
            f"MEDFERRY_MANIFEST_URL {problem}: tasks would open a second ledger beside the command line's.",
            "Set it for all of Airflow's processes: PostgreSQL, or sqlite:////absolute/path on a single machine.",
        )


def require_one_staging(url: str) -> None:
    """Raises SettingsError for a staging area that each process may find elsewhere."""
    if "://" not in url and not Path(url).is_absolute():
        problem = "is a relative path" if url else "is not set"
        raise SettingsError(
            f"MEDFERRY_STAGING_URL {problem}: a task would not find what another has staged.",
            "Set it for all of Airflow's processes: s3://…, or the absolute path of a folder that all workers share.",
        )


def report_folder(run: str) -> str:
    """Where a run's report goes: MEDFERRY_REPORT_FOLDER, a folder or an fsspec URL (build/reports) / the run's id."""
    from medferry.runtime.staging import folder_of

    root = variables_of(environment().migration.name).get("MEDFERRY_REPORT_FOLDER") or "build/reports"
    return f"{root.rstrip('/')}/{folder_of(run)}"


def evidence_folder() -> str:
    """Where the evidence of waves that are over goes: MEDFERRY_EVIDENCE_FOLDER, as a report's (build/evidence)."""
    return variables_of(environment().migration.name).get("MEDFERRY_EVIDENCE_FOLDER") or "build/evidence"


def publish_report(run: str) -> None:
    """Write the report; the last line of the log says what the run comes to, and Airflow's note of its DAG run."""
    from medferry.report.write import publish_report as publish
    from medferry.report.write import write_report

    folder = report_folder(run)
    if "://" in folder:
        page = publish(environment(), run, folder)
    else:
        page = str(write_report(environment(), run, Path(folder)).html)
    log.info("Reconciliation report: %s", page)
    log.info("Run %s: %s", run, noted(run))


def noted(run: str) -> str:
    """What a run comes to or, at work, what an operator has made of it; noted at its DAG run, too. Empty: no run."""
    from medferry.manifest.runs import find_run
    from medferry.report.overview import summary_of
    from medferry_airflow.note import note_run

    with environment().manifest.begin() as connection:
        found = find_run(connection, run)
        word = summary_of(connection, found).word.upper() if found else ""
    if word:
        note_run(run, word)
    return word
