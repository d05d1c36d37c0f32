"""Tasks that verify: after a load, or a finished run again."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

from airflow.sdk import task

from medferry.errors import MedferryError
from medferry.verification.options import VerifyOptions
from medferry_airflow.assets import WAVES, Milestone
from medferry_airflow.definition import current_migration
from medferry_airflow.guard import guarded
from medferry_airflow.lineage import tell_verification
from medferry_airflow.names import POOL
from medferry_airflow.params import options_among
from medferry_airflow.tasks.environment import environment, publish_report

log = logging.getLogger(__name__)


class RunNotFinished(MedferryError):
    """The run to verify is not finished."""


@task(pool=POOL, trigger_rule="none_failed", multiple_outputs=False, outlets=[WAVES])
@guarded
def verify(run: str, params: dict[str, Any] | None = None, ti: Any = None, outlet_events: Any = None) -> dict[str, int]:
    """Compare source, manifest and Medplum, and record every check; returns the checks by status."""
    from medferry.verification.run import verify_run
    from medferry_airflow.milestones import tell_milestone

    options = options_among(params or {}, VerifyOptions)
    results = verify_run(environment(), run, _log_entity, options, options.force)
    tell_milestone(environment(), run, Milestone.LOADED, outlet_events)
    tell_verification(ti, environment(), results)
    return dict(Counter(result.status for result in results))


def _log_entity(name: str, _parts: int) -> None:
    log.info("Verifying %s", name)


@task(task_id="choose_run")
@guarded
def choose_run(params: dict[str, Any] | None = None) -> str:
    """The run to verify, if one is asked for and finished; returns its id. Empty: everything that has been loaded."""
    from medferry.manifest import runs
    from medferry.manifest.run_names import run_called
    from medferry.runtime.continuing import is_dry

    wanted, migration = (params or {}).get("run"), current_migration()
    if not wanted:
        return ""
    with environment().manifest.begin() as connection:
        found = run_called(connection, migration.name, wanted)
        finished = runs.finished_run(connection, migration.name, found.id)
    if finished is None:
        raise RunNotFinished(
            f"Run {found.id} is not finished.",
            "A run that still works is verified by itself; see `medferry runs`.",
        )
    if is_dry(finished):
        log.warning("Run %s is a dry run: it wrote nothing, so its accounting alone is verified.", finished.id)
    return finished.id


@task(task_id="verify", pool=POOL)
@guarded
def verify_again(run: str, params: dict[str, Any] | None = None, ti: Any = None) -> int:
    """Compare a run, or everything that has been loaded; returns the id of a verification that is of no run, else 0."""
    from medferry.manifest.checks import get_verification, results_of
    from medferry.verification.run import EVERYTHING, verify_run
    from medferry.workflows.verify_in_step import verify_present

    options = options_among(params or {}, VerifyOptions)
    if run:
        tell_verification(ti, environment(), verify_run(environment(), run, _log_entity, options, options.force))
        return 0
    verification_id = verify_present(environment(), EVERYTHING, _log_entity, options).id
    with environment().manifest.begin() as connection:
        results = results_of(connection, get_verification(connection, verification_id))
    tell_verification(ti, environment(), results)
    return verification_id


@task(task_id="conclude")
@guarded
def conclude_verification(run: str, verification_id: int) -> None:
    """Set the status of the verified run, write its report; fail unless every check is equal, or accepted by name."""
    from medferry.governance.verdict import verdict_of, verdict_of_verification
    from medferry.workflows.finish import settle

    with environment().manifest.begin() as connection:
        if not run:
            verdict = verdict_of_verification(connection, verification_id)
        else:
            settle(connection, run)
            verdict = verdict_of(connection, run)
    if not run:
        log.info("Verification %d: %s", verification_id, verdict.text().upper())
        verdict.require_passed(f"--verification {verification_id}")
        return
    publish_report(run)
    verdict.require(run)
