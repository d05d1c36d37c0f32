"""Tasks that verify: after a load, or a finished run again."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

from airflow.sdk import task

from medferry.errors import MedferryError
from medferry.manifest import runs
from medferry.verification.run import verify_run
from medferry.verification.scope import VerifyOptions
from medferry.workflows.finish import finish_run
from medferry_airflow.definition import current_migration
from medferry_airflow.guard import guarded
from medferry_airflow.params import options_among
from medferry_airflow.tasks.environment import POOL, environment, publish_report

log = logging.getLogger(__name__)


class RunNotFinished(MedferryError):
    """There is no finished run to verify."""


@task(pool=POOL, trigger_rule="none_failed", multiple_outputs=False)
@guarded
def verify(run: str, params: dict[str, Any] | None = None) -> dict[str, int]:
    """Compare source, manifest and Medplum, and record every check; returns the checks by status."""
    options = options_among(params or {}, VerifyOptions)
    results = verify_run(environment(), run, _log_entity, options, options.force)
    return dict(Counter(result.status for result in results))


def _log_entity(name: str) -> None:
    log.info("Verifying %s", name)


@task(task_id="choose_run")
@guarded
def choose_run(params: dict[str, Any] | None = None) -> str:
    """The run to verify: the one asked for, or the newest that is finished and no dry run. Returns its id."""
    wanted, migration = (params or {}).get("run"), current_migration()
    with environment().manifest.begin() as connection:
        finished = runs.newest_finished(connection, migration.name, wanted)
    if finished is None:
        raise RunNotFinished(
            f"Migration {migration.name} has no finished run{f' {wanted}' if wanted else ''}.",
            "Check the id with `medferry runs`; a run that still works is verified by itself.",
        )
    return finished.id


@task(task_id="conclude")
@guarded
def conclude_verification(run: str) -> None:
    """Set the status of the verified run, write its report, and fail unless every check is equal."""
    try:
        finish_run(environment(), run)
    finally:
        publish_report(run)
